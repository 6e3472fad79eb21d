// A whole round: the model calls a function, its result goes back, the model answers.

#include <iostream>
#include <string>

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <tokenwire/client.h>

// The function: its arguments are the text of a JSON object.
std::string GetWeather(const std::string& arguments) {
  google::protobuf::Struct parsed;
  if (!google::protobuf::util::JsonStringToMessage(arguments, &parsed).ok()) {
    return "the arguments are no JSON";
  }
  return parsed.fields().at("city").string_value() + ": 21 °C, sunny";
}

int main(int argc, char** argv) try {
  const tokenwire::Client client(argc > 1 ? argv[1] : "127.0.0.1:50051");
  tokenwire::v1::ChatCompletionRequest request;
  request.set_model("smollm2-135m-instruct");
  request.set_max_completion_tokens(64);
  *request.add_messages() = tokenwire::UserMessage("What is the weather in Paris?");
  auto& function = *request.add_tools()->mutable_function();
  function.set_name("get_weather");
  function.set_description("The weather in a city now");
  function.set_strict(true);  // The arguments always match.
  function.set_parameters(R"({
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": false
  })");
  request.mutable_tool_choice()->set_mode(tokenwire::v1::TOOL_CHOICE_MODE_REQUIRED);
  request.set_parallel_tool_calls(false);

  const tokenwire::v1::Choice choice = client.Chat(request).choices(0);
  *request.add_messages() = tokenwire::AssistantMessage(choice);  // The calls.
  for (const auto& call : choice.tool_calls()) {
    std::cout << call.function().name() << call.function().arguments() << '\n';
    *request.add_messages() = tokenwire::ToolMessage(GetWeather(call.function().arguments()), call.id());
  }
  request.mutable_tool_choice()->set_mode(tokenwire::v1::TOOL_CHOICE_MODE_NONE);
  std::cout << client.Chat(request).choices(0).content() << '\n';
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
