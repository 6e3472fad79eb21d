package dev.tokenwire.client;

import dev.tokenwire.v1.ChatCompletion;
import dev.tokenwire.v1.ChatCompletionEvent;
import dev.tokenwire.v1.Choice;
import dev.tokenwire.v1.Delta;
import dev.tokenwire.v1.Finished;
import dev.tokenwire.v1.Started;
import dev.tokenwire.v1.ToolCall;
import dev.tokenwire.v1.ToolCallDelta;
import dev.tokenwire.v1.Usage;
import java.util.ArrayList;
import java.util.List;

/**
 * Folds a stream into the answer that the unary call gives; of the rest of a stream it makes what the rest has of it.
 * Does not check the grammar. An event costs what is new in it; only {@link #completion()} looks at the whole.
 */
final class StreamFolder {
  private final ChatCompletion.Builder head = ChatCompletion.newBuilder();
  private final List<OpenChoice> choices = new ArrayList<>();
  private ChatCompletion completion = ChatCompletion.getDefaultInstance();
  private boolean isStale;

  /** Takes the next event. */
  void add(ChatCompletionEvent event) {
    isStale = true;
    switch (event.getEventCase()) {
      case STARTED -> start(event.getStarted());
      case PROMPT_LOGPROBS -> head.addAllPromptLogprobs(event.getPromptLogprobs().getTokensList());
      case DELTA -> choice(event.getDelta().getIndex()).append(event.getDelta());
      case FINISHED -> choice(event.getFinished().getIndex()).finish(event.getFinished());
      case COMPLETED ->
          head.setUsage(event.getCompleted().getUsage()).setTimings(event.getCompleted().getTimings());
      default -> { } // a heartbeat, or a kind that is newer than this client
    }
  }

  /** The answer so far. It costs its whole size, once an event. */
  ChatCompletion completion() {
    if (isStale) {
      head.clearChoices();
      choices.forEach(choice -> head.addChoices(choice.build()));
      completion = head.build();
      isStale = false;
    }
    return completion;
  }

  private void start(Started started) {
    head.setId(started.getId())
        .setCreated(started.getCreated())
        .setModel(started.getModel())
        .setSystemFingerprint(started.getSystemFingerprint())
        .setParameters(started.getParameters())
        .setServiceTierValue(started.getServiceTierValue())
        .setUsage(Usage.newBuilder().setPromptTokens(started.getPromptTokens()));
    choice(started.getParameters().getN() - 1);
  }

  /** The choice of this index; what is missing before it is made, too. */
  private OpenChoice choice(int index) {
    while (choices.size() <= index) {
      choices.add(new OpenChoice(choices.size()));
    }
    return index < 0 ? null : choices.get(index);
  }

  /** One choice while it grows. */
  private static final class OpenChoice {
    private final Choice.Builder rest = Choice.newBuilder();
    private final StringBuilder content = new StringBuilder();
    private final StringBuilder reasoning = new StringBuilder();
    private final List<OpenCall> calls = new ArrayList<>();

    OpenChoice(int index) {
      rest.setIndex(index);
    }

    void append(Delta delta) {
      content.append(delta.getContent());
      reasoning.append(delta.getReasoning());
      rest.addAllLogprobs(delta.getLogprobsList());
      for (ToolCallDelta part : delta.getToolCallsList()) {
        while (calls.size() <= part.getIndex()) {
          calls.add(new OpenCall());
        }
        calls.get(part.getIndex()).append(part);
      }
    }

    void finish(Finished finished) {
      rest.setFinishReasonValue(finished.getFinishReasonValue()).setStopMatch(finished.getStopMatch());
    }

    Choice build() {
      rest.setContent(content.toString()).setReasoning(reasoning.toString()).clearToolCalls();
      calls.forEach(call -> rest.addToolCalls(call.build()));
      return rest.build();
    }
  }

  /** One tool call while it grows. */
  private static final class OpenCall {
    private final ToolCall.Builder rest = ToolCall.newBuilder();
    private final StringBuilder arguments = new StringBuilder();

    void append(ToolCallDelta part) {
      if (!part.getId().isEmpty()) {
        rest.setId(part.getId()).getFunctionBuilder().setName(part.getName());
      }
      arguments.append(part.getArguments());
    }

    ToolCall build() {
      rest.getFunctionBuilder().setArguments(arguments.toString());
      return rest.build();
    }
  }
}
