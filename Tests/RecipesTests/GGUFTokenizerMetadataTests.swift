import EspalierBasics
import EspalierCheckpoints
import EspalierRecipes
import EspalierTokenizers
import TestSupport
import Testing

/// The keys that are written for a tokenizer are those of llama.cpp's converter, value and type.
@Suite struct GGUFTokenizerMetadataTests {
  private static let tests = FileSystem.parent(of: FileSystem.parent(of: #filePath))

  @Test(arguments: [
    "llama_spm-Q4_K_M", "llama3_rope_spm-Q8_0", "gemma2_spm-Q4_0", "gpt2_bpe-Q4_0", "qwen2_bpe-Q5_1",
  ])
  func keysHaveTheConvertersTypes(file: String) throws {
    let checkpoint = try GGUFCheckpoint(unmappedAt: "\(Self.tests)/NetworksTests/GGUF/\(file).gguf")
    let golden = checkpoint.metadata
    let name = String(try #require(file.split(separator: "-").first))
    let folder = "\(Self.tests)/TokenizersTests/Fixtures/gguf/sources/\(name)"
    var contents: [String: [UInt8]] = [:]
    for file in try FileSystem.list(folder) { contents[file] = try FileSystem.read("\(folder)/\(file)") }
    var source = GGUFVocabulary.Source(files: try TokenizerFiles(files: contents))
    source.configuration = try JSON(parsing: try #require(contents["config.json"]))
    source.rows = golden.array("tokenizer.ggml.tokens")?.count
    var written = GGUFMetadata()
    written.set(try GGUFVocabulary.describing(source).vocabulary)
    let keys = golden.keys.filter { $0.hasPrefix("tokenizer.") }
    #expect(keys.count > 5 && Set(written.keys).isSuperset(of: keys))
    for key in keys {
      #expect(written[key] == golden[key] && written.type(of: key) == golden.type(of: key), "\(key)")
    }
    // A GGUF file's own are copied, all of them.
    var copy = GGUFMetadata()
    #expect(try copy.setTokenizer(of: checkpoint, rows: nil).isEmpty)
    #expect(copy.keys == keys)
    for key in keys { #expect(copy[key] == golden[key] && copy.type(of: key) == golden.type(of: key), "\(key)") }
  }

  @Test func aFolderIsDescribed() throws {
    let models = "\(FileSystem.parent(of: Self.tests))/Models/base"
    let checkpoint = try SafetensorsCheckpoint(at: models)
    var metadata = GGUFMetadata()
    let warnings = try metadata.setTokenizer(of: checkpoint, rows: 2100, carriesTokenizerJSON: true)
    #expect(warnings.isEmpty, "\(warnings)")
    #expect(metadata.text("tokenizer.ggml.model") == "gpt2" && metadata.text("tokenizer.ggml.pre") == "smollm")
    #expect(metadata.array("tokenizer.ggml.tokens")?.count == 2100)
    #expect(metadata.string("tokenizer.huggingface.json") == (try FileSystem.read("\(models)/tokenizer.json")))
    let written = try Tokenizer(gguf: try GGUFVocabulary(metadata))
    let own = try ModelTokenizer(of: checkpoint).tokenizer
    let text = String(decoding: try FileSystem.read(#filePath), as: UTF8.self)
    #expect(try written.ids(text) == own.ids(text))
  }
}
