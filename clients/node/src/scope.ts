// What ends a call early: the caller's signal, or the closing of the client.

/** The life of one call, or of the calls of one stream. */
export class Scope {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #leave: () => Promise<void>;
  readonly #onAbort = () => void this.end(this.#outer?.reason);
  #left: Promise<void> | undefined;

  /** `outer`, not aborted yet, ends it, too. `leave`, called once, tells the server if it ends early; never rejects. */
  constructor(outer: AbortSignal | undefined, leave: () => Promise<void>) {
    this.#outer = outer;
    this.#leave = leave;
    outer?.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** Aborts when the scope is ended. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends it early. Resolves when the server knows. */
  end(reason: unknown): Promise<void> {
    this.#controller.abort(reason);
    return this.leave();
  }

  /** It is over, or nobody waits for it any more. Resolves when the server knows, for everybody who asks. */
  leave(): Promise<void> {
    this.#outer?.removeEventListener("abort", this.#onAbort);
    this.#left ??= this.#leave();
    return this.#left;
  }
}
