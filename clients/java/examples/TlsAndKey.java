import dev.tokenwire.client.TokenwireClient;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.Message;
import dev.tokenwire.v1.Role;
import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;

/** A server with TLS that wants the key TOKENWIRE_API_KEY; the PEM file TOKENWIRE_CA has whom to trust. */
public class TlsAndKey {
  public static void main(String[] args) throws IOException {
    ChannelCredentials tls =
        TlsChannelCredentials.newBuilder().trustManager(new File(System.getenv("TOKENWIRE_CA"))).build();
    ChatCompletionRequest request = ChatCompletionRequest.newBuilder()
        .setModel("smollm2-135m-instruct")
        .addMessages(Message.newBuilder().setRole(Role.ROLE_USER).setContent("Say hello."))
        .setMaxCompletionTokens(16)
        .build();

    try (TokenwireClient client = TokenwireClient.builder(args.length > 0 ? args[0] : "127.0.0.1:50051")
        .credentials(tls)
        .apiKey(System.getenv("TOKENWIRE_API_KEY"))
        .build()) {
      System.out.println(client.chat(request).getChoices(0).getContent());
    }
  }
}
