import dev.tokenwire.client.TokenwireClient;
import dev.tokenwire.client.TokenwireException;
import dev.tokenwire.v1.ChatCompletion;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.Message;
import dev.tokenwire.v1.Role;

/** The whole answer at once, and what an error tells. */
public class Unary {
  public static void main(String[] args) {
    ChatCompletionRequest request = ChatCompletionRequest.newBuilder()
        .setModel("smollm2-135m-instruct")
        .addMessages(Message.newBuilder().setRole(Role.ROLE_SYSTEM).setContent("You are a geographer."))
        .addMessages(Message.newBuilder().setRole(Role.ROLE_USER).setContent("Name three rivers."))
        .setTemperature(0.2)
        .setMaxCompletionTokens(32)
        .build();

    try (TokenwireClient client = TokenwireClient.connect(args.length > 0 ? args[0] : "127.0.0.1:50051")) {
      ChatCompletion completion = client.chat(request);
      System.out.println(completion.getChoices(0).getContent());
      System.out.println(completion.getUsage().getTotalTokens() + " tokens");
    } catch (TokenwireException failure) {
      System.err.println(failure.code() + " " + failure.reasonName() + ": " + failure.getMessage());
      failure.violations().forEach(System.err::println); // every field that breaks its rule
      failure.retryAfter().ifPresent(delay -> System.err.println("try again in " + delay));
      System.exit(1);
    }
  }
}
