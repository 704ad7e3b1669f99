import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import EspalierRecipes
import EspalierTokenizers
import TestSupport
import Testing

/// The vocabulary inside a GGUF file reaches the folder that is written from it.
@Suite struct GGUFTokenizerTests {
  private static let models = "\(FileSystem.parent(of: FileSystem.parent(of: #filePath)))/NetworksTests/GGUF"

  private static let texts = [
    "Hello world", "  two  spaces\n\n\ttab 12345", "Grüße aus 東京 😀", "", "it's <s> x </s> <|endoftext|>", "a\u{301}",
  ]

  private func expectSameTokens(_ a: ModelTokenizer, _ b: ModelTokenizer) throws {
    for text in Self.texts {
      #expect(try a.tokenizer.ids(text) == b.tokenizer.ids(text), "\(text.debugDescription)")
    }
    #expect(a.endTokens == b.endTokens)
  }

  @Test(arguments: [
    "llama_spm-Q4_K_M", "llama3_rope_spm-Q8_0", "gemma2_spm-Q4_0", "gpt2_bpe-Q4_0", "qwen2_bpe-Q5_1",
  ])
  func conversionWritesTheTokenizer(name: String) throws {
    try withTemporaryFolder { folder in
      let source = "\(Self.models)/\(name).gguf"
      let plan = try Conversion.plan(of: source, elementType: nil, options: MergeOptions(output: "\(folder)/out"))
      #expect(plan.warnings.isEmpty, "\(plan.warnings)")
      _ = try Conversion.run(plan, listener: SilentListener())
      #expect(
        try FileSystem.list("\(folder)/out") == [
          "config.json", "espalier-manifest.json", "generation_config.json", "model.safetensors", "tokenizer.json",
          "tokenizer_config.json",
        ])
      let written = try SafetensorsCheckpoint(at: "\(folder)/out")
      let original = try Architecture.openCheckpoint(at: source)
      try expectSameTokens(try ModelTokenizer(of: written), try ModelTokenizer(of: original))
      // Every id has its row.
      let vocabulary = try Vocabulary(
        TokenizerFiles(files: ["tokenizer.json": try FileSystem.read("\(folder)/out/tokenizer.json")]))
      #expect(vocabulary.holes.isEmpty && vocabulary.size <= written.config?["vocab_size"]?.integer ?? 0)
    }
  }

  /// A tokenizer beside the file is the better one.
  @Test func aTokenizerBesideTheFileIsKept() throws {
    try withTemporaryFolder { folder in
      try FileSystem.createFolder("\(folder)/model")
      try FileSystem.write(
        try FileSystem.read("\(Self.models)/llama_spm-Q4_K_M.gguf"), to: "\(folder)/model/model.gguf")
      let words: JSON = ["model": ["type": "WordLevel", "unk_token": "a", "vocab": ["a": 0, "b": 1]]]
      try FileSystem.write(Array(words.text().utf8), to: "\(folder)/model/tokenizer.json")
      let plan = try Conversion.plan(
        of: "\(folder)/model", elementType: nil, options: MergeOptions(output: "\(folder)/out"))
      let bytes = try #require(plan.smallFiles.first { $0.name == "tokenizer.json" }).bytes
      #expect(bytes == Array(words.text().utf8))
    }
  }

  /// One vocabulary in a GGUF file and in a folder is one vocabulary: nothing is added, nothing warned of.
  @Test func unionsLookIntoGGUFFiles() throws {
    try withTemporaryFolder { folder in
      let source = "\(Self.models)/qwen2_bpe-Q5_1.gguf"
      let options = MergeOptions(output: "\(folder)/hf")
      _ = try Conversion.run(
        try Conversion.plan(of: source, elementType: nil, options: options), listener: SilentListener())
      let recipe = """
        merge_method: linear
        models:
          - {model: \(source), parameters: {weight: 0.5}}
          - {model: hf, parameters: {weight: 0.5}}
        tokenizer: {source: union}
        """
      try FileSystem.write(Array(recipe.utf8), to: "\(folder)/recipe.yml")
      let pipeline = try MergePipeline(
        recipeAt: "\(folder)/recipe.yml", options: MergeOptions(output: "\(folder)/out"), listener: SilentListener())
      #expect(pipeline.warnings.isEmpty, "\(pipeline.warnings)")
      _ = try pipeline.run(listener: SilentListener())
      let original = try Architecture.openCheckpoint(at: source)
      try expectSameTokens(
        try ModelTokenizer(of: try SafetensorsCheckpoint(at: "\(folder)/out")), try ModelTokenizer(of: original))
      #expect(
        try FileSystem.read("\(folder)/out/tokenizer.json") == (try FileSystem.read("\(folder)/hf/tokenizer.json")))
    }
  }

  /// What is about to be done can be read before it is done.
  @Test func theOutlineOfAConversion() throws {
    try withTemporaryFolder { folder in
      let source = "\(Self.models)/qwen2_bpe-Q5_1.gguf"
      let plan = try Conversion.plan(of: source, elementType: nil, options: MergeOptions(output: "\(folder)/out"))
      let lines = ConversionOutline(plan).text.split(separator: "\n").map(String.init)
      #expect(lines[0].hasPrefix("convert   \(source): qwen2, ") && lines[0].hasSuffix(" as stored"))
      #expect(lines.contains { $0.contains("Q5_1 to F16: ") && $0.contains(" become ") })
      #expect(lines.contains { $0.contains("F32 stays: ") && $0.hasSuffix("copied byte for byte") })
      #expect(lines.contains { $0.contains("--dtype") })
      for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        #expect(lines.contains { $0.contains("\(folder)/out/\(name), ") }, "\(name)")
      }
      let typed = try Conversion.plan(of: source, elementType: .f32, options: MergeOptions(output: "\(folder)/out"))
      #expect(!ConversionOutline(typed).text.contains("--dtype"))
      #expect(!FileSystem.isFolder("\(folder)/out"))
    }
  }
}
