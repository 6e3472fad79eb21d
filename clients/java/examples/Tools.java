import com.google.gson.JsonParser;
import dev.tokenwire.client.TokenwireClient;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.Choice;
import dev.tokenwire.v1.FunctionDefinition;
import dev.tokenwire.v1.Message;
import dev.tokenwire.v1.Role;
import dev.tokenwire.v1.Tool;
import dev.tokenwire.v1.ToolCall;
import dev.tokenwire.v1.ToolChoice;
import dev.tokenwire.v1.ToolChoiceMode;

/** A whole round: the model calls a function, gets what it gives, and answers. */
public class Tools {
  private static final String PARAMETERS = """
      {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"],
       "additionalProperties": false}""";

  public static void main(String[] args) {
    FunctionDefinition getWeather = FunctionDefinition.newBuilder()
        .setName("get_weather").setDescription("The weather in a city now").setParameters(PARAMETERS).build();
    ChatCompletionRequest.Builder conversation = ChatCompletionRequest.newBuilder()
        .setModel("smollm2-135m-instruct")
        .addMessages(Message.newBuilder().setRole(Role.ROLE_USER).setContent("What is the weather in Paris?"))
        .addTools(Tool.newBuilder().setFunction(getWeather))
        .setToolChoice(ToolChoice.newBuilder().setMode(ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED))
        .setParallelToolCalls(false)
        .setMaxCompletionTokens(64);

    try (TokenwireClient client = TokenwireClient.connect(args.length > 0 ? args[0] : "127.0.0.1:50051")) {
      Choice choice = client.chat(conversation.build()).getChoices(0);
      conversation.addMessages(
          Message.newBuilder().setRole(Role.ROLE_ASSISTANT).addAllToolCalls(choice.getToolCallsList()));
      for (ToolCall call : choice.getToolCallsList()) {
        System.out.println("-> " + call.getFunction().getName() + call.getFunction().getArguments());
        conversation.addMessages(
            Message.newBuilder().setRole(Role.ROLE_TOOL).setToolCallId(call.getId()).setContent(weather(call)));
      }
      conversation.setToolChoice(ToolChoice.newBuilder().setMode(ToolChoiceMode.TOOL_CHOICE_MODE_NONE));
      System.out.println(client.chat(conversation.build()).getChoices(0).getContent());
    }
  }

  private static String weather(ToolCall call) {
    var arguments = JsonParser.parseString(call.getFunction().getArguments()).getAsJsonObject();
    return arguments.get("city").getAsString() + ": 21 °C, sunny";
  }
}
