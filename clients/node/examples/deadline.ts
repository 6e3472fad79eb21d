// A short deadline: the answer so far comes a little before it, instead of an error behind it.

import { FinishReason, OnDeadline, Role, status, TokenwireClient, TokenwireError } from "@tokenwire/client";

await using client = new TokenwireClient(process.argv[2] ?? "127.0.0.1:50051");

try {
  const completion = await client.chat(
    {
      model: "smollm2-135m-instruct",
      messages: [{ role: Role.USER, content: "Tell me a long story." }],
      maxCompletionTokens: 1500,
      ignoreEos: true,
      executionPolicy: { onDeadline: OnDeadline.RETURN_PARTIAL },
    },
    { timeoutMs: 1500 },
  );
  const [choice] = completion.choices;
  console.log(choice?.content);
  console.log("ended by", FinishReason[choice?.finishReason ?? 0]); // TIME_LIMIT where the deadline cut it
} catch (error) {
  if (error instanceof TokenwireError && error.reason === "DEADLINE_UNATTAINABLE") {
    console.log("it cannot begin in time, which the server knew at once:", error.message);
  } else if (error instanceof TokenwireError && error.code === status.DEADLINE_EXCEEDED) {
    console.log("the time was over before anything came:", error.message);
  } else {
    throw error;
  }
}
