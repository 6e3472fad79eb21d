package dev.tokenwire.client;

import dev.tokenwire.v1.ChatCompletion;
import dev.tokenwire.v1.ChatCompletionEvent;
import dev.tokenwire.v1.Heartbeat;
import java.util.Optional;

/** One event of a stream, with the answer so far. */
public final class Update {
  private final ChatCompletionEvent event;
  private final StreamFolder folder;

  Update(ChatCompletionEvent event, StreamFolder folder) {
    this.event = event;
    this.folder = folder;
  }

  /**
   * What is new.
   *
   * @return the event; of a kind that this client does not know, one without a kind
   */
  public ChatCompletionEvent event() {
    return event;
  }

  /**
   * The new text. Where {@code n} > 1, {@code event().getDelta().getIndex()} says whose it is. Parts of tool calls are
   * in {@code event().getDelta().getToolCallsList()}; the calls so far in {@link #completion()}.
   *
   * @return empty for an event that has none
   */
  public String text() {
    return event.getDelta().getContent();
  }

  /**
   * The new reasoning, which comes before any text.
   *
   * @return empty for an event that has none
   */
  public String reasoning() {
    return event.getDelta().getReasoning();
  }

  /**
   * Sent while nothing new comes: where the completion is, and its place in the queue.
   *
   * @return empty if this update is something else
   */
  public Optional<Heartbeat> heartbeat() {
    return event.hasHeartbeat() ? Optional.of(event.getHeartbeat()) : Optional.empty();
  }

  /**
   * The answer so far, as {@link ChatStream#completion()}: when the stream has been read further, this has grown, too.
   *
   * @return after the last update, the whole answer
   */
  public ChatCompletion completion() {
    return folder.completion();
  }
}
