# frozen_string_literal: true

module Tokenwire
  VERSION = "0.1.0"
end
