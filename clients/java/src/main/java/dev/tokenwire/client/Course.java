package dev.tokenwire.client;

import dev.tokenwire.v1.CancelChatCompletionRequest;
import dev.tokenwire.v1.ChatCompletionEvent;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.OnDisconnect;
import dev.tokenwire.v1.ResumeChatCompletionRequest;
import io.grpc.Deadline;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * The course of one streamed completion over one call or, where it resumes, over several; without any I/O: what is
 * asked next, and what is done when a call ends. One thread reads the stream, any may leave it.
 */
final class Course {
  static final Duration FIRST_DELAY = Duration.ofMillis(100);
  static final Duration MAX_DELAY = Duration.ofSeconds(5);

  /** A server that is not reached for so long is given up: by default it keeps no completion for longer. */
  static final Duration MAX_OUTAGE = Duration.ofSeconds(60);

  private static final Set<Status.Code> CONNECTION_LOST = Set.of(Status.Code.UNAVAILABLE, Status.Code.CANCELLED);

  /** Reasons of the server that end a stream of a completion that detaches, and not the completion. */
  private static final Set<String> MAY_GO_ON = Set.of("SLOW_CONSUMER", "DEADLINE_EXCEEDED");

  private final boolean resumes;
  private final Deadline deadline;
  private final ChatCompletionRequest chat;
  private final StreamChecker checker;
  private ResumeChatCompletionRequest rest;
  private CancelChatCompletionRequest target;
  private boolean canResume;
  private boolean isOver;
  private int numLosses;
  private long lostAtNanos;

  /** The deadline bounds all calls together. A request that resumes is changed: it detaches. */
  Course(ChatCompletionRequest request, Deadline deadline, boolean resumes) {
    this(deadline, resumes, resumes ? detached(request) : request, OptionalLong.empty());
    target = CancelChatCompletionRequest.newBuilder().setRequestId(request.getRequestId()).build();
  }

  /** The same for the rest of a stream. */
  Course(ResumeChatCompletionRequest request, Deadline deadline, boolean resumes) {
    this(deadline, resumes, null,
        request.hasAfterSequence() ? OptionalLong.of(request.getAfterSequence()) : OptionalLong.empty());
    rest = request;
    canResume = resumes;
    target = CancelChatCompletionRequest.newBuilder().setCompletionId(request.getCompletionId()).build();
  }

  private Course(Deadline deadline, boolean resumes, ChatCompletionRequest chat, OptionalLong afterSequence) {
    this.deadline = deadline;
    this.resumes = resumes;
    this.chat = chat;
    checker = new StreamChecker(afterSequence);
    isOver = !resumes;
  }

  /** Of all calls. */
  Deadline deadline() {
    return deadline;
  }

  /** What to ask: the rest of the stream, or, where that is empty, {@link #chat()}. */
  Optional<ResumeChatCompletionRequest> rest() {
    return Optional.ofNullable(rest);
  }

  /** What to ask first. */
  ChatCompletionRequest chat() {
    return chat;
  }

  /** Takes the next event. */
  synchronized void take(ChatCompletionEvent event) throws BrokenStreamException {
    if (resumes) {
      note(event);
    }
    checker.check(event);
  }

  /** The call ended with status OK. Throws where something is missing. */
  synchronized void end() throws BrokenStreamException {
    checker.end();
    isOver = true;
  }

  /** The call failed: the time after which to ask again. Throws the failure where that is of no use. */
  synchronized Duration resumeAfter(TokenwireException failure) throws TokenwireException {
    if (isOver) {
      throw failure;
    }
    boolean hasReason = !failure.reasonName().isEmpty();
    if (!canResume || (hasReason && !MAY_GO_ON.contains(failure.reasonName()))) {
      isOver = true;
      throw failure;
    }
    long nowNanos = System.nanoTime();
    if (numLosses == 0) {
      lostAtNanos = nowNanos;
    }
    if (hasReason || !CONNECTION_LOST.contains(failure.code()) || nowNanos - lostAtNanos > MAX_OUTAGE.toNanos()) {
      throw failure;
    }
    return nextDelay();
  }

  /** The stream is left: what to tell the server, or nothing where it knows. */
  synchronized Optional<CancelChatCompletionRequest> leave() {
    if (isOver) {
      return Optional.empty();
    }
    isOver = true;
    return Optional.of(target);
  }

  private Duration nextDelay() {
    double delayNanos = FIRST_DELAY.toNanos() * Math.pow(2, numLosses++);
    double jitter = ThreadLocalRandom.current().nextDouble(0.5, 1.0);
    long boundedNanos = (long) (Math.min(delayNanos, MAX_DELAY.toNanos()) * jitter);
    return Duration.ofNanos(Math.max(0, Math.min(boundedNanos, deadline.timeRemaining(TimeUnit.NANOSECONDS))));
  }

  private void note(ChatCompletionEvent event) {
    numLosses = 0;
    if (event.hasStarted()) {
      canResume = event.getStarted().getResumable();
      String id = event.getStarted().getId();
      target = CancelChatCompletionRequest.newBuilder().setCompletionId(id).build();
      rest = ResumeChatCompletionRequest.newBuilder().setCompletionId(id).build();
    }
    if (rest != null) {
      rest = rest.toBuilder().setAfterSequence(event.getSequence()).build();
    }
  }

  private static ChatCompletionRequest detached(ChatCompletionRequest request) {
    var detached = request.toBuilder();
    detached.getExecutionPolicyBuilder().setOnDisconnect(OnDisconnect.ON_DISCONNECT_DETACH);
    return detached.build();
  }
}
