"""The limits of a chat request, as the contract gives them."""

MAX_N = 128
MAX_STOP = 4
MAX_STOP_TOKEN_IDS = 64
MAX_TOP_LOGPROBS = 20
MAX_NAME_LENGTH = 64
MAX_LOGIT_BIAS = 100
MAX_PRIORITY = 100

MAX_BAD_WORDS = 64
MAX_BAD_WORD_BYTES = 256
MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY_LENGTH = 64
MAX_METADATA_VALUE_LENGTH = 512
MAX_USER_LENGTH = 256
MAX_REQUEST_ID_LENGTH = 128

MAX_TOOLS = 128
MAX_SCHEMA_BYTES = 256 * 1024
"""Of a JSON schema or a Lark grammar."""
MAX_SCHEMA_DEPTH = 64
MAX_REGEX_BYTES = 16 * 1024
MAX_CHOICE_OPTIONS = 1024

MAX_STOP_LENGTH = 1024
"""Characters of a stop string: as many are held back."""
MAX_TOKEN_IDS = 256 * 1024
"""Of DetokenizeRequest, and of a raw prompt."""
MAX_FIELDS = 100_000
"""Fields and elements of a request message, or values of a JSON body: each costs memory and time."""
