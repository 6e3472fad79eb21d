import dev.tokenwire.client.ChatStream;
import dev.tokenwire.client.TokenwireClient;
import dev.tokenwire.client.Update;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.Choice;
import dev.tokenwire.v1.Message;
import dev.tokenwire.v1.Role;

/** Two answers to one question, as they come. */
public class Stream {
  public static void main(String[] args) {
    ChatCompletionRequest request = ChatCompletionRequest.newBuilder()
        .setModel("smollm2-135m-instruct")
        .addMessages(Message.newBuilder().setRole(Role.ROLE_USER).setContent("Why is the sky blue?"))
        .setN(2)
        .setMaxCompletionTokens(24)
        .build();

    try (TokenwireClient client = TokenwireClient.connect(args.length > 0 ? args[0] : "127.0.0.1:50051");
        ChatStream stream = client.stream(request)) {
      for (Update update : stream) {
        update.heartbeat().ifPresent(beat -> System.out.println("in the queue at " + beat.getQueuePosition()));
        if (!update.text().isEmpty()) {
          System.out.println("answer " + update.event().getDelta().getIndex() + ": " + update.text());
        }
      }
      for (Choice choice : stream.completion().getChoicesList()) {
        System.out.println(choice.getFinishReason() + ": " + choice.getContent());
      }
    }
  }
}
