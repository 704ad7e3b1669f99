import EspalierBasics
import TestSupport
import Testing

/// Full disks and little memory while models are packed, unpacked and told apart.
@Suite(.serialized) struct PackingFaultTests {
  /// Something fills the disk: a clear message, the model untouched, and `--resume` goes on when there is room.
  @Test(.enabled(if: DiskTests.canMount, "needs the right to mount a file system"))
  func fullDisk() throws {
    try withTemporaryFolder { folder in
      try TestModel.layers(8, width: 1024).write(to: "\(folder)/base", seed: 1)
      try TestModel.layers(8, width: 1024).write(to: "\(folder)/tuned", seed: 2)
      let before = try [contents(of: "\(folder)/base"), contents(of: "\(folder)/tuned")]
      let outcome = try Program.shell(
        """
        mount -t tmpfs -o size=160m none /mnt
        cd '\(folder)'
        "$espalier" pack base -o packed --quiet; echo "pack $?"
        "$espalier" delta make tuned --base base --method int8 -o d.safetensors --quiet; echo "delta $?"
        for verb in "pack base -o /mnt/out --threads 1" "unpack packed -o /mnt/out --threads 1" \
          "delta make tuned --base base --method int8 -o /mnt/out.safetensors --threads 1"; do
          # The room that is looked for is there; then it is not.
          "$espalier" $verb --quiet 2>> full &
          run=$!
          while [ ! -e /mnt/out.partial ] && [ ! -e /mnt/out.safetensors.partial ]; do :; done
          kill -STOP $run
          cat /dev/zero > /mnt/filler 2> /dev/null
          kill -CONT $run
          wait $run; echo "full $?"
          ls -d /mnt/out /mnt/out.safetensors 2> /dev/null
          rm /mnt/filler
          "$espalier" $verb --quiet --resume; echo "resumed $?"
          rm -rf out out.safetensors; cp -r /mnt/out* .; rm -rf /mnt/out*
          [ -e out ] && mv out "out-${verb%% *}"
        done
        """, prefix: ["unshare", "-m"])
      let each = "full 1\nresumed 0\n"
      #expect(outcome.output == "pack 0\ndelta 0\n" + each + each + each, "\(outcome)")
      let full = String(decoding: try FileSystem.read("\(folder)/full"), as: UTF8.self)
      #expect(full.ranges(of: "file.no-space").count == 3, "\(full)")
      #expect(try differences("\(folder)/out-pack", "\(folder)/packed") == [])
      #expect(try differences("\(folder)/out-unpack", "\(folder)/base") == [])
      #expect(try FileSystem.read("\(folder)/out.safetensors") == FileSystem.read("\(folder)/d.safetensors"))
      #expect(try [contents(of: "\(folder)/base"), contents(of: "\(folder)/tuned")] == before)
    }
  }

  /// Chunks in flight only: a model of three gigabytes, most of it a hole, with more threads than there are processors.
  @Test func memoryStaysUnderItsBound() throws {
    try withTemporaryFolder { folder in
      let (noise, count) = (48 << 20, 3 << 30)
      let header = Array("{\"w\":{\"dtype\":\"BF16\",\"shape\":[\(count / 2)],\"data_offsets\":[0,\(count)]}}   ".utf8)
      let path = "\(folder)/model.safetensors"
      let file = try File.writing(path)
      try file.write((0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) } + header, at: 0)
      var generator = SeededGenerator(seed: 3)
      let words = (0..<noise / 8).map { _ in generator.next() & 0x3fff_3fff_3fff_3fff }
      let result: Result<Void, Problem> = words.withUnsafeBytes { bytes in
        Result { () throws(Problem) in try file.write(bytes, at: 8 + header.count) }
      }
      try result.get()
      try file.resize(to: 8 + header.count + count)
      let packed = try Program.run(
        "pack", path, "-o", "\(path).packed", "--threads", "16", "--memory", "256MB", "--json")
      #expect(packed.code == 0, "\(packed)")
      let report = try #require(try packed.events.last)
      let peak = try #require(report["peak_bytes"]?.integer)
      #expect(peak < 256_000_000, "\(peak)")
      let verified = try Program.run(
        "verify", "\(path).packed", "--threads", "16", "--memory", "256MB", "--json")
      #expect(verified.code == 0, "\(verified)")
      let reading = try #require(try verified.events.last?["peak_bytes"]?.integer)
      #expect(reading < 256_000_000, "\(reading)")
    }
  }
}
