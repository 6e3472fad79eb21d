package dev.tokenwire.client;

import dev.tokenwire.v1.ChatCompletionEvent;
import dev.tokenwire.v1.Delta;
import dev.tokenwire.v1.FinishReason;
import dev.tokenwire.v1.Finished;
import dev.tokenwire.v1.Started;
import dev.tokenwire.v1.ToolCallDelta;
import java.util.HashSet;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeMap;

/**
 * Checks the grammar of one stream, event by event: started prompt_logprobs* (delta | finished)* completed, exactly one
 * {@code finished} a choice, after its deltas; sequences increase. Heartbeats may stand anywhere after {@code started},
 * with the sequence of the event before them. In a choice, reasoning comes before content, and one tool call after the
 * other. An event of a kind that it does not know passes.
 */
final class StreamChecker {
  private final boolean isRest;
  private final Map<Integer, OpenChoice> openChoices = new TreeMap<>();
  private final Set<Integer> finished = new HashSet<>();
  private OptionalLong sequence;
  private boolean started;
  private boolean answering;
  private boolean completed;

  /** With {@code afterSequence} the stream is the rest of one, after this event; what came before is not known. */
  StreamChecker(OptionalLong afterSequence) {
    sequence = afterSequence;
    isRest = afterSequence.isPresent();
    started = isRest;
  }

  /** Takes the next event. Throws where it may not stand. */
  void check(ChatCompletionEvent event) throws BrokenStreamException {
    var kind = event.getEventCase();
    require(!completed, "event `%s` after `completed`", kind);
    if (event.hasHeartbeat()) {
      require(sequence.equals(OptionalLong.of(event.getSequence())),
          "a heartbeat of sequence %d after %s", event.getSequence(), sequence);
      return;
    }
    require(sequence.isEmpty() || event.getSequence() > sequence.getAsLong(),
        "sequence %d after %s", event.getSequence(), sequence);
    sequence = OptionalLong.of(event.getSequence());
    switch (kind) {
      case STARTED -> checkStarted(event.getStarted());
      case PROMPT_LOGPROBS -> checkPromptLogprobs();
      case DELTA -> checkDelta(event.getDelta());
      case FINISHED -> checkFinished(event.getFinished());
      case COMPLETED -> checkCompleted();
      default -> { } // a kind that is newer than this client
    }
  }

  /** The stream ended with status OK. Throws if it was not complete. */
  void end() throws BrokenStreamException {
    require(completed, "the stream ended OK without `completed`");
  }

  private void checkStarted(Started event) {
    require(!started, "a second `started`");
    started = true;
    for (int index = 0; index < event.getParameters().getN(); index++) {
      openChoices.put(index, new OpenChoice(0));
    }
  }

  private void checkPromptLogprobs() {
    require(started, "`prompt_logprobs` before `started`");
    require(!answering, "`prompt_logprobs` after an answer began");
  }

  private void checkDelta(Delta delta) {
    openChoice("delta", delta.getIndex()).check(delta);
    answering = true;
  }

  private void checkFinished(Finished event) {
    openChoice("finished", event.getIndex());
    openChoices.remove(event.getIndex());
    finished.add(event.getIndex());
    answering = true;
    require(event.getFinishReasonValue() != FinishReason.FINISH_REASON_UNSPECIFIED_VALUE,
        "choice %d finished without a reason", event.getIndex());
  }

  private void checkCompleted() {
    require(started, "`completed` before `started`");
    require(openChoices.isEmpty(), "`completed` while choices %s are open", openChoices.keySet());
    completed = true;
  }

  private OpenChoice openChoice(String kind, int index) {
    require(started, "`%s` before `started`", kind);
    if (isRest && index >= 0 && !finished.contains(index)) {
      openChoices.putIfAbsent(index, new OpenChoice(OpenChoice.UNKNOWN));
    }
    OpenChoice choice = openChoices.get(index);
    require(choice != null, "`%s` for choice %d, which is finished or was never asked", kind, index);
    return choice;
  }

  private static void require(boolean holds, String otherwise, Object... values) {
    if (!holds) {
      throw new BrokenStreamException(otherwise.formatted(values));
    }
  }

  /** What the deltas of one choice had so far. */
  private static final class OpenChoice {
    static final int UNKNOWN = -1;

    private boolean hasContent;
    private int numCalls;

    OpenChoice(int numCalls) {
      this.numCalls = numCalls;
    }

    void check(Delta delta) {
      require(!hasContent || delta.getReasoning().isEmpty(),
          "reasoning after the content of choice %d", delta.getIndex());
      hasContent |= !delta.getContent().isEmpty();
      for (ToolCallDelta part : delta.getToolCallsList()) {
        check(part, delta.getIndex());
      }
    }

    private void check(ToolCallDelta part, int choice) {
      int index = part.getIndex();
      boolean hasId = !part.getId().isEmpty();
      if (numCalls == UNKNOWN) {
        numCalls = hasId ? index : index + 1;
      }
      require(index >= 0 && (index == numCalls - 1 || index == numCalls),
          "tool call %d of choice %d is out of order", index, choice);
      boolean isFirst = index == numCalls;
      require(hasId == isFirst && part.getName().isEmpty() != isFirst,
          "id and name of tool call %d belong in its first part only", index);
      if (isFirst) {
        numCalls++;
      }
    }
  }
}
