// Asks the server: its models, its health, and answers as they are made.

const DONE = "[DONE]";

/** A refusal, or a stream that failed. `param` is the path of what is wrong, or null. */
export class ApiError extends Error {
  constructor(message, { status = null, param = null, code = null, requestId = null } = {}) {
    super(message);
    Object.assign(this, { status, param, code, requestId });
  }
}

export class Service {
  /** `key` gives the API key, or "". Addresses are relative to the page, which may be under a path of a proxy. */
  constructor(key) {
    this.key = key;
  }

  async models() {
    const answered = await this.ask("v1/models");
    if (!answered.ok) throw await refusal(answered);
    return (await answered.json()).data;
  }

  /** "ok", or why it takes no requests ("loading"), or "unreachable". */
  async health() {
    try {
      const answered = await fetch("health", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      return (await answered.json()).status;
    } catch {
      return "unreachable";
    }
  }

  /** Sends a chat completion; throws `ApiError`. `chunks` of the answer end with it, or throw likewise. */
  async chat(body, signal) {
    const answered = await this.ask("v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    if (!answered.ok) throw await refusal(answered);
    const requestId = answered.headers.get("x-request-id");
    return { requestId, chunks: chunksOf(answered.body, requestId) };
  }

  async ask(path, options = {}) {
    const headers = { ...options.headers };
    if (this.key()) headers.authorization = `Bearer ${this.key()}`;
    try {
      return await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server cannot be reached.");
    }
  }
}

async function refusal(answered) {
  const told = { status: answered.status, requestId: answered.headers.get("x-request-id") };
  try {
    const { error } = await answered.json();
    return new ApiError(error.message, { ...told, param: error.param, code: error.code });
  } catch {
    return new ApiError(`HTTP ${answered.status}`, told); // of a proxy
  }
}

async function* chunksOf(stream, requestId) {
  try {
    for await (const data of eventsOf(stream)) {
      if (data === DONE) return;
      const chunk = JSON.parse(data);
      if (chunk.error) {
        const { message, param, code } = chunk.error;
        throw new ApiError(message, { param, code, requestId });
      }
      yield chunk;
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // that is what a connection that is lost is to `fetch`
  }
  throw new ApiError("The connection was lost before the end of the answer.", { requestId });
}

/** The data of each server-sent event; comments are left out. */
export async function* eventsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const lines = event.split("\n").filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      }
    }
  } finally {
    await reader.cancel().catch(() => {}); // it may have failed already
  }
}
