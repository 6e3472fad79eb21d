import dev.tokenwire.client.ChatStream;
import dev.tokenwire.client.TokenwireClient;
import dev.tokenwire.client.Update;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.Message;
import dev.tokenwire.v1.Role;

/** Leaves a stream after a few updates: closing it cancels the call, and its place on the server is free at once. */
public class Cancel {
  public static void main(String[] args) {
    ChatCompletionRequest request = ChatCompletionRequest.newBuilder()
        .setModel("smollm2-135m-instruct")
        .addMessages(Message.newBuilder().setRole(Role.ROLE_USER).setContent("Tell me a long story."))
        .setMaxCompletionTokens(64)
        .build();

    try (TokenwireClient client = TokenwireClient.connect(args.length > 0 ? args[0] : "127.0.0.1:50051")) {
      int numUpdates = 0;
      try (ChatStream stream = client.stream(request)) {
        for (Update update : stream) {
          System.out.print(update.text());
          if (++numUpdates == 5) {
            break;
          }
        }
      }
      System.out.println("\nleft after " + numUpdates + " updates");
    }
  }
}
