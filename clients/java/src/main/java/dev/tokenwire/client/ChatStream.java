package dev.tokenwire.client;

import dev.tokenwire.v1.CancelChatCompletionRequest;
import dev.tokenwire.v1.ChatCompletion;
import dev.tokenwire.v1.ChatCompletionEvent;
import io.grpc.Context;
import io.grpc.Status;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;

/**
 * A completion as it comes. Reading it blocks; its events are fetched as they are read. To be read once, by one thread
 * at a time; close it, best with try-with-resources: leaving it early frees its place on the server at once.
 *
 * <p>Reading throws {@link TokenwireException} when the call fails, {@link BrokenStreamException} when the stream
 * breaks its grammar. A thread that is interrupted while it reads ends the stream, and gets a {@link
 * TokenwireException} with CANCELLED; so does one that reads while another closes the stream. Either keeps its
 * interrupt status.
 */
public final class ChatStream implements Iterable<Update>, AutoCloseable {
  private final Course course;
  private final Function<Course, EventCall> opener;
  private final Consumer<ChatStream> onEnd;
  private final Consumer<CancelChatCompletionRequest> canceller;
  private final Context context = Context.current();
  private final CountDownLatch closed = new CountDownLatch(1);
  private final StreamFolder folder = new StreamFolder();
  private final Reader reader = new Reader();
  private volatile EventCall call;

  /**
   * Opens the first call.
   *
   * @param opener starts a call that asks what the course says
   * @param canceller tells the server that a completion is not wanted any more; throws nothing
   * @param onEnd called when the stream has ended or is closed, maybe more than once
   */
  ChatStream(
      Course course,
      Function<Course, EventCall> opener,
      Consumer<CancelChatCompletionRequest> canceller,
      Consumer<ChatStream> onEnd) {
    this.course = course;
    this.opener = opener;
    this.canceller = canceller;
    this.onEnd = onEnd;
    call = opener.apply(course);
  }

  /**
   * Reads the stream from where it is: there is one iterator, however often it is asked for.
   *
   * @return the updates that are still to come
   */
  @Override
  public Iterator<Update> iterator() {
    return reader;
  }

  /**
   * The answer as far as it has been read. To make it costs its whole size, so ask when you need it, not for each
   * token; the last one is kept.
   *
   * @return after the last update, the whole answer; of a stream that began after an event, what came since
   */
  public ChatCompletion completion() {
    return folder.completion();
  }

  /**
   * Leaves the stream: cancels the call if it is still going on. Where the stream resumes, the server is told that the
   * completion is not wanted any more, for which this waits 2 seconds at most. May be called by any thread, and again.
   */
  @Override
  public void close() {
    closed.countDown();
    call.cancel();
    tellServer();
    onEnd.accept(this);
  }

  /** Whoever comes second waits until the server has been told: the client may be closed next. */
  private synchronized void tellServer() {
    course.leave().ifPresent(canceller);
  }

  private boolean isClosed() {
    return closed.getCount() == 0;
  }

  /** The next event; null after the last one. */
  private ChatCompletionEvent await() throws InterruptedException {
    while (true) {
      try {
        ChatCompletionEvent event = call.next();
        if (event == null) {
          course.end();
        } else {
          course.take(event);
        }
        return event;
      } catch (BrokenStreamException broken) {
        throw broken;
      } catch (TokenwireException failure) {
        reopen(failure);
      }
    }
  }

  /** Asks for the rest after a while, or throws the failure where that is of no use. */
  private void reopen(TokenwireException failure) throws InterruptedException {
    if (isClosed() || context.isCancelled()) {
      throw failure;
    }
    if (closed.await(course.resumeAfter(failure).toNanos(), TimeUnit.NANOSECONDS)) {
      throw failure;
    }
    context.run(() -> call = opener.apply(course));
    if (isClosed()) { // in the meantime: that may have cancelled the call before this one
      call.cancel();
    }
  }

  private final class Reader implements Iterator<Update> {
    private ChatCompletionEvent next;
    private boolean hasEnded;
    private TokenwireException failure;

    @Override
    public boolean hasNext() {
      if (failure != null) {
        throw failure;
      }
      if (next == null && !hasEnded) {
        next = read();
        hasEnded = next == null;
      }
      return next != null;
    }

    @Override
    public Update next() {
      if (!hasNext()) {
        throw new NoSuchElementException("the stream has ended");
      }
      ChatCompletionEvent event = next;
      next = null;
      folder.add(event);
      return new Update(event, folder);
    }

    private ChatCompletionEvent read() {
      try {
        ChatCompletionEvent event = await();
        if (event == null) {
          close();
        }
        return event;
      } catch (InterruptedException interrupt) {
        close(); // before the thread is interrupted again: it waits for the server
        Thread.currentThread().interrupt();
        failure = TokenwireException.from(Status.CANCELLED.withDescription("interrupted"), null, interrupt);
      } catch (TokenwireException ended) {
        close();
        failure = ended;
      }
      throw failure;
    }
  }
}
