import dev.tokenwire.client.ChatStream;
import dev.tokenwire.client.TokenwireClient;
import dev.tokenwire.client.Update;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.Message;
import dev.tokenwire.v1.Role;

public class Quickstart {
  public static void main(String[] args) {
    var question = Message.newBuilder().setRole(Role.ROLE_USER).setContent("Why is the sky blue?");
    var request = ChatCompletionRequest.newBuilder()
        .setModel("smollm2-135m-instruct").addMessages(question).setMaxCompletionTokens(48).build();
    try (var client = TokenwireClient.connect(args.length > 0 ? args[0] : "127.0.0.1:50051");
        ChatStream stream = client.stream(request)) {
      for (Update update : stream) {
        System.out.print(update.text()); // what is new
      }
      System.out.println("\n" + stream.completion().getUsage()); // the whole answer
    }
  }
}
