package dev.tokenwire.conformance;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;

/** Speaks driver.proto over stdin and stdout: a command, its result, each behind its length. */
public final class ConformanceDriver {
  private ConformanceDriver() {}

  /** Ends when stdin does. */
  public static void main(String[] args) throws IOException {
    DataInputStream commands = new DataInputStream(System.in);
    DataOutputStream results = new DataOutputStream(System.out);
    while (true) {
      byte[] command;
      try {
        command = commands.readNBytes(commands.readInt());
      } catch (EOFException end) {
        return;
      }
      byte[] result = new Call(Command.parseFrom(command)).run().toByteArray();
      results.writeInt(result.length);
      results.write(result);
      results.flush();
    }
  }
}
