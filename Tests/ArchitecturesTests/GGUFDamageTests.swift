import EspalierBasics
import TestSupport
import Testing

@testable import EspalierArchitectures
@testable import EspalierCheckpoints

/// Files changed at random are read or refused, whatever they say; nothing traps (`make fuzz` looks further).
@Suite struct GGUFDamageTests {

  /// The beginning of a file up to its data, padded with zeros to its full length.
  private static func head(_ name: String) throws -> [UInt8] {
    var bytes = try readBytes("GGUFFixtures/\(name).gguf")
    let data = try GGUFHeader(parsing: bytes, file: "f", fileSize: bytes.count).tensors.map(\.offset).min() ?? 0
    for index in data..<bytes.count { bytes[index] = 0 }
    return bytes
  }

  private static func change(_ bytes: inout [UInt8], upTo end: Int, with generator: inout SeededGenerator) {
    for _ in 0..<Int.random(in: 1...3, using: &generator) {
      let place = Int.random(in: 0..<end, using: &generator)
      switch Int.random(in: 0..<4, using: &generator) {
      case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
      case 1: bytes[place] = [0, 1, 2, 127, 128, 255].randomElement(using: &generator) ?? 0
      case 2: bytes[place] &+= UInt8.random(in: 1...8, using: &generator)
      default:
        let from = Int.random(in: 0..<end - 16, using: &generator)
        let into = Int.random(in: 0..<end - 16, using: &generator)
        bytes.replaceSubrange(into..<into + 8, with: bytes[from..<from + 8])
      }
    }
  }

  @Test(arguments: ["llama_bias", "mixtral", "gemma2", "gpt_neox", "mamba2", "t5_gated", "qwen2_fused"])
  func changedHeadersAreReadOrRefused(name: String) throws {
    let families = Architecture.builtIn()
    let original = try Self.head(name)
    let end = try GGUFHeader(parsing: original, file: "f", fileSize: original.count).tensors.map(\.offset).min() ?? 0
    var generator = SeededGenerator(seed: 5)
    var accepted = 0
    for _ in 0..<(Int(FileSystem.environment("ESPALIER_DAMAGE_ROUNDS") ?? "") ?? 400) {
      var bytes = original
      Self.change(&bytes, upTo: end, with: &generator)
      guard let header = try? GGUFHeader(parsing: bytes, file: "f", fileSize: bytes.count) else { continue }
      for tensor in header.tensors {
        #expect(tensor.offset >= 24 && tensor.offset + tensor.byteCount <= bytes.count)
      }
      for key in header.metadata.keys { #expect(header.metadata[key] != nil) }
      guard let stored = try? GGUFFiles(paths: ["f"], headers: [header]).storedTensors() else { continue }
      let architecture = header.metadata.text("general.architecture") ?? ""
      let view = GGUFMetadataView(header.metadata, tensors: stored, architecture: architecture)
      guard
        let family = try? Architecture.recognise(ggufArchitecture: architecture, view, among: families),
        let named = try? GGUFCheckpoint.named(stored, view, family: family, families: families)
      else { continue }
      accepted += 1
      for parameter in named.parameters {
        let bytes = parameter.recipe.storedTensors.reduce(0) { $0 + $1.elementCount }
        #expect(parameter.elementCount == bytes, "\(parameter.name)")
      }
    }
    // Names of a model, dropout and the like may be anything.
    #expect(accepted > 0)
  }
}
