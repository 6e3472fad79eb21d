"""`/v1/responses`: OpenAI's Responses API, without state: nothing is kept between two requests."""
