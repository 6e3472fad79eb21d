"""The limits of a chat request, as the contract gives them."""

MAX_N = 128
MAX_STOP = 4
MAX_STOP_TOKEN_IDS = 64
MAX_TOP_LOGPROBS = 20
MAX_NAME_LENGTH = 64
MAX_LOGIT_BIAS = 100
