import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.tokenwire.client.TokenwireClient;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.JsonSchemaFormat;
import dev.tokenwire.v1.Message;
import dev.tokenwire.v1.ResponseFormat;
import dev.tokenwire.v1.Role;

/** An answer that matches a schema. */
public class JsonSchema {
  private static final String SCHEMA = """
      {"type": "object",
       "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 99999999}},
       "required": ["city", "people"],
       "additionalProperties": false}""";

  public static void main(String[] args) {
    ChatCompletionRequest request = ChatCompletionRequest.newBuilder()
        .setModel("smollm2-135m-instruct")
        .addMessages(Message.newBuilder().setRole(Role.ROLE_USER).setContent("Tell me about Paris."))
        .setResponseFormat(ResponseFormat.newBuilder().setJsonSchema(JsonSchemaFormat.newBuilder().setSchema(SCHEMA)))
        .setMaxCompletionTokens(64)
        .build();

    try (TokenwireClient client = TokenwireClient.connect(args.length > 0 ? args[0] : "127.0.0.1:50051")) {
      String answer = client.chat(request).getChoices(0).getContent();
      JsonObject facts = JsonParser.parseString(answer).getAsJsonObject();
      System.out.println(facts.get("city").getAsString() + " has " + facts.get("people").getAsInt() + " people.");
    }
  }
}
