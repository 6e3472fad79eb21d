import dev.tokenwire.client.RequestOptions;
import dev.tokenwire.client.TokenwireClient;
import dev.tokenwire.client.TokenwireException;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.Choice;
import dev.tokenwire.v1.ErrorReason;
import dev.tokenwire.v1.ExecutionPolicy;
import dev.tokenwire.v1.Message;
import dev.tokenwire.v1.OnDeadline;
import dev.tokenwire.v1.Role;
import io.grpc.Status;
import java.time.Duration;

/** An answer that is cut short where the deadline comes near, rather than lost. */
public class Deadline {
  public static void main(String[] args) {
    ChatCompletionRequest request = ChatCompletionRequest.newBuilder()
        .setModel("smollm2-135m-instruct")
        .addMessages(Message.newBuilder().setRole(Role.ROLE_USER).setContent("Tell me a long story."))
        .setIgnoreEos(true)
        .setExecutionPolicy(ExecutionPolicy.newBuilder().setOnDeadline(OnDeadline.ON_DEADLINE_RETURN_PARTIAL))
        .build();
    RequestOptions options = RequestOptions.DEFAULT.withTimeout(Duration.ofSeconds(4));

    try (TokenwireClient client = TokenwireClient.connect(args.length > 0 ? args[0] : "127.0.0.1:50051")) {
      Choice choice = client.chat(request, options).getChoices(0);
      System.out.println(choice.getContent());
      System.out.println(choice.getFinishReason()); // FINISH_REASON_TIME_LIMIT
    } catch (TokenwireException failure) {
      if (failure.reason() == ErrorReason.ERROR_REASON_DEADLINE_UNATTAINABLE) {
        System.err.println("too busy, it would begin in " + failure.metadata().get("estimated_wait_ms") + " ms");
      } else if (failure.code() == Status.Code.DEADLINE_EXCEEDED) {
        System.err.println("nothing came in time");
      }
      throw failure;
    }
  }
}
