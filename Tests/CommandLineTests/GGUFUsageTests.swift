import EspalierBasics
import TestSupport
import Testing

/// GGUF files that are whole and yet no model: of an architecture nobody knows, or without hyperparameters.
@Suite struct GGUFUsageTests {
  /// Writes a file of two tensors that says nothing but its architecture.
  private static func file(_ architecture: String, version: UInt32 = 3, in folder: String) throws -> String {
    var file = TestGGUF()
    file.version = version
    file.add("general.architecture", architecture)
    for name in ["a.weight", "b.weight"] { file.add(name, shape: [4, 8], [Float](repeating: 1, count: 32)) }
    try file.write(to: "\(folder)/m.gguf")
    return "\(folder)/m.gguf"
  }

  @Test(arguments: ["llama", "made-up"], [UInt32(2), 3])
  func inspectShowsWhatIsStored(_ architecture: String, _ version: UInt32) throws {
    try withTemporaryFolder { folder in
      let file = try Self.file(architecture, version: version, in: folder)
      let text = try Program.run("inspect", file, "--detail", "tensors")
      let words = ["GGUF version \(version), 1 metadata entry", "not recognised", "a.weight", "4x8", "f32", "128 B"]
      #expect(text.code == 0 && words.allSatisfy { text.output.contains($0) }, "\(text)")
      let reason = architecture == "llama" ? "the config lacks `num_hidden_layers`" : "the architecture made-up"
      #expect(text.output.contains("warning: ") && text.output.contains(reason), "\(text)")
      let json = try #require(try Program.run("inspect", file, "--json").events.first)
      #expect(json["gguf_version"]?.integer == Int(version) && json["tensors"]?[1]?["name"] == "b.weight")
      #expect(json["tensors"]?[1]?["byte_count"]?.integer == 128)
    }
  }

  @Test func whatCannotRunIsNamed() throws {
    try withTemporaryFolder { folder in
      let unknown = try Program.run("generate", try Self.file("made-up", in: folder), "--prompt", "a")
      #expect(unknown.code == 1 && unknown.errors.contains("no known family fits the architecture made-up"))
      #expect(!unknown.errors.contains("config.json"), "\(unknown)")
      let lacking = try Program.run("generate", try Self.file("llama", in: folder), "--prompt", "a")
      #expect(lacking.code == 1 && lacking.errors.contains("the config lacks `num_hidden_layers`"), "\(lacking)")
      #expect(!lacking.errors.contains("config.json"), "\(lacking)")
    }
  }
}
