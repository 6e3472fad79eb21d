"""`xds.data.orca.v3.OrcaLoadReport`, as far as ours goes: names, numbers and types of the published message.

Its own package, xds-protos, cannot be installed beside OpenTelemetry's exporter: it puts older files in the place of
that one's.
"""

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass


def parse_load_report(data: bytes) -> Message:
    """Raises `DecodeError`."""
    field = FieldDescriptorProto
    file = FileDescriptorProto(name="orca_load_report.proto", package="xds.data.orca.v3", syntax="proto3")
    report = file.message_type.add(name="OrcaLoadReport")
    _double(report, "rps_fractional", 6)
    _double(report, "application_utilization", 9)
    report.field.add(
        name="named_metrics",
        number=8,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".xds.data.orca.v3.OrcaLoadReport.NamedMetricsEntry",
    )
    entry = report.nested_type.add(name="NamedMetricsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    _double(entry, "value", 2)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("xds.data.orca.v3.OrcaLoadReport")).FromString(data)


def _double(message: DescriptorProto, name: str, number: int) -> None:
    message.field.add(
        name=name, number=number, type=FieldDescriptorProto.TYPE_DOUBLE, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
