"""The REST layer alone, in front of a Tokenwire service behind gRPC. It never imports torch."""
