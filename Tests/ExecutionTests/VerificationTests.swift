import EspalierBasics
import TestSupport
import Testing

@testable import EspalierExecution

@Suite struct VerificationTests {
  private func verify(_ path: String) throws -> Verification.Outcome {
    try Verification.verify(path, threads: 2, listener: SilentListener())
  }

  private func withOutput(_ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      try Sample.make(at: "\(folder)/out")
      try body("\(folder)/out")
    }
  }

  private func edit(_ path: String, _ change: (inout String) -> Void) throws {
    var text = String(decoding: try FileSystem.read(path), as: UTF8.self)
    change(&text)
    try FileSystem.write(Array(text.utf8), to: path)
  }

  @Test func aWholeOutputAgrees() throws {
    try withOutput { path in
      let outcome = try verify(path)
      #expect(outcome.problems.isEmpty)
      #expect(outcome.tensors == 3 && outcome.bytes == 42)
    }
  }

  /// Every byte counts, of headers as of data; in data the tensor is named.
  @Test func everyByteCounts() throws {
    try withOutput { path in
      for (number, file) in Sample.layout.files.enumerated() {
        for offset in 0..<file.byteCount {
          try flip("\(path)/\(file.name)", at: offset)
          let problems = try verify(path).problems
          #expect(!problems.isEmpty, "\(file.name), byte \(offset)")
          if let tensor = Sample.layout.tensors.first(where: {
            $0.file == number && $0.offset..<$0.offset + $0.byteCount ~= offset
          }) {
            #expect(problems.map(\.context.tensor) == [tensor.name])
            #expect(problems.map(\.code) == [.verifyMismatch])
          }
          try flip("\(path)/\(file.name)", at: offset)
        }
      }
      #expect(try verify(path).problems.isEmpty)
    }
  }

  @Test func missingFile() throws {
    try withOutput { path in
      try FileSystem.remove("\(path)/\(Sample.layout.files[1].name)")
      let problems = try verify(path).problems
      #expect(problems.map(\.code) == [.fileMissing])
    }
  }

  @Test func cutAndGrownFiles() throws {
    try withOutput { path in
      let file = "\(path)/\(Sample.layout.files[0].name)"
      let whole = try FileSystem.read(file)
      for bytes in [Array(whole.dropLast()), whole + [0], []] {
        try FileSystem.write(bytes, to: file)
        #expect(try verify(path).problems.map(\.code) == [.verifyMismatch])
      }
    }
  }

  /// A tensor that the manifest does not know, and one that the file does not have.
  @Test func tensorsThatDoNotMatch() throws {
    try withOutput { path in
      try edit("\(path)/\(Manifest.fileName)") { $0 = $0.replacing("\"name\": \"b\"", with: "\"name\": \"d\"") }
      #expect(try verify(path).problems.map(\.context.tensor) == ["d"])
    }
  }

  /// The small files count as the weights do.
  @Test func smallFiles() throws {
    try withOutput { path in
      let config = "\(path)/config.json"
      for bytes in [Array("[]".utf8), Array("{} ".utf8)] {
        try FileSystem.write(bytes, to: config)
        let problems = try verify(path).problems
        #expect(problems.map(\.code) == [.verifyMismatch] && problems.first?.context.file == config)
      }
      try FileSystem.remove(config)
      #expect(try verify(path).problems.map(\.code) == [.fileMissing])
    }
  }

  /// Weights that a reader of the folder would take for its own; other files are the user's.
  @Test func weightsThatTheManifestDoesNotName() throws {
    try withOutput { path in
      for name in ["notes.txt", Journal.fileName] { try FileSystem.write([1], to: "\(path)/\(name)") }
      #expect(try verify(path).problems.isEmpty)
      for name in ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"] {
        try FileSystem.write([1], to: "\(path)/\(name)")
        let problems = try verify(path).problems
        #expect(problems.map(\.code) == [.verifyMismatch] && problems.first?.context.file == "\(path)/\(name)")
        try FileSystem.remove("\(path)/\(name)")
      }
    }
  }

  @Test func anEmptyListOfFiles() throws {
    try withOutput { path in
      let manifest = "\(path)/\(Manifest.fileName)"
      try FileSystem.write(
        Array(#"{"espalier_manifest": 1, "files": [], "small_files": []}"#.utf8), to: manifest)
      #expect(problem { try verify(path) }?.code == .manifestInvalid)
    }
  }

  @Test func withoutManifest() throws {
    try withTemporaryFolder { folder in
      #expect(problem { try verify(folder) }?.code == .manifestMissing)
    }
  }

  @Test func manifestsThatCannotBeRead() throws {
    try withOutput { path in
      let manifest = "\(path)/\(Manifest.fileName)"
      let whole = String(decoding: try FileSystem.read(manifest), as: UTF8.self)
      for damaged in [
        "", "[]", "{}", whole.replacing("\"espalier_manifest\": 1", with: "\"espalier_manifest\": 2"),
        whole.replacing("\"xxh3\"", with: "\"md5\""), whole.replacing("model-00001", with: "../model-00001"),
      ] {
        try FileSystem.write(Array(damaged.utf8), to: manifest)
        let found = problem { try verify(path) }
        #expect(found?.code == .manifestInvalid || found?.code == .json, "\(damaged.prefix(80))")
        #expect(found?.context.file == manifest)
      }
    }
  }

  /// Nothing in a manifest differs between two runs of the same thing.
  @Test func manifestsAreEqual() throws {
    try withTemporaryFolder { folder in
      for name in ["one", "two"] { try Sample.make(at: "\(folder)/\(name)") }
      let manifests = try ["one", "two"].map { try FileSystem.read("\(folder)/\($0)/\(Manifest.fileName)") }
      #expect(manifests[0] == manifests[1])
    }
  }

  /// Digests of files are checked where the manifest has them.
  @Test func digestsOfFiles() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      let output = try Sample.open(path)
      _ = try Sample.run(Sample.jobs(), into: output)
      let wrong = String(repeating: "0", count: 64)
      let manifest = Manifest.json(
        made: [], layout: Sample.layout, records: output.finishedRecords(), small: [],
        fileDigests: [Sample.layout.files[0].name: wrong])
      try output.commit(adding: [(Manifest.fileName, manifest.bytes())])
      #expect(try verify(path).problems.map(\.code) == [.verifyMismatch])
    }
  }
}
