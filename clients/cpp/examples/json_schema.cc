// An answer that has the form of a JSON schema.

#include <iostream>
#include <stdexcept>

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <tokenwire/client.h>

int main(int argc, char** argv) try {
  const tokenwire::Client client(argc > 1 ? argv[1] : "127.0.0.1:50051");
  tokenwire::v1::ChatCompletionRequest request;
  request.set_model("smollm2-135m-instruct");
  request.set_max_completion_tokens(64);
  *request.add_messages() = tokenwire::UserMessage("Tell me about Paris.");
  request.mutable_response_format()->mutable_json_schema()->set_schema(R"({
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 99999999}},
    "required": ["city", "people"],
    "additionalProperties": false
  })");

  const tokenwire::v1::ChatCompletion completion = client.Chat(request);
  google::protobuf::Struct city;  // Any JSON library does; this one is there already.
  if (!google::protobuf::util::JsonStringToMessage(completion.choices(0).content(), &city).ok()) {
    throw std::runtime_error("cut by length: " + completion.choices(0).content());
  }
  std::cout << city.fields().at("city").string_value() << " has " << city.fields().at("people").number_value()
            << " people\n";
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
