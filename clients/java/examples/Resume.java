import dev.tokenwire.client.ChatStream;
import dev.tokenwire.client.RequestOptions;
import dev.tokenwire.client.TokenwireClient;
import dev.tokenwire.client.Update;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.Message;
import dev.tokenwire.v1.Role;

/** A stream that goes on where it was when the connection is lost. */
public class Resume {
  public static void main(String[] args) {
    ChatCompletionRequest request = ChatCompletionRequest.newBuilder()
        .setModel("smollm2-135m-instruct")
        .addMessages(Message.newBuilder().setRole(Role.ROLE_USER).setContent("Tell me a long story."))
        .setMaxCompletionTokens(64)
        .build();

    try (TokenwireClient client = TokenwireClient.connect(args.length > 0 ? args[0] : "127.0.0.1:50051");
        ChatStream stream = client.stream(request, RequestOptions.DEFAULT.withResume(true))) {
      for (Update update : stream) {
        System.out.print(update.text());
        System.out.flush();
      }
      System.out.println("\n" + stream.completion().getUsage().getCompletionTokens() + " tokens");
    }
  }
}
