import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import EspalierRecipes
import TestSupport

/// Files beside the tests.
enum Fixtures {
  static let merges = "\(FileSystem.parent(of: #filePath))/Fixtures/merge"
}

/// A Llama small enough to write down: hidden 2, one head, inner width 3, vocabulary 4.
///
/// Every element of layer `l` is `value + l`, of tensors outside layers `value`: so an output tells where it is from.
struct TinyLlama {
  var value: Float = 0
  var layers = 2
  var vocabulary = 4
  var type = ElementType.f32
  var isTied = false
  var without: [String] = []
  var extra: [TestTensor] = []
  var configuration: [String: JSON] = [:]

  func write(to folder: String) throws {
    try FileSystem.createParents(of: folder)
    try FileSystem.createFolder(folder)
    try FileSystem.write(config.bytes(pretty: true), to: "\(folder)/config.json")
    try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
  }

  private var config: JSON {
    var config: JSON = [
      "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2, "intermediate_size": 3,
      "num_attention_heads": 1, "num_key_value_heads": 1, "num_hidden_layers": .number(layers),
      "vocab_size": .number(vocabulary), "tie_word_embeddings": .bool(isTied), "rms_norm_eps": 1e-6,
      "torch_dtype": "float32",
    ]
    for (key, value) in configuration.sorted(by: { $0.key < $1.key }) { config[key] = value }
    return config
  }

  private var tensors: [TestTensor] {
    var all = [("model.embed_tokens.weight", [vocabulary, 2], value)]
    for layer in 0..<layers {
      let shapes = [
        ("input_layernorm", [2]), ("self_attn.q_proj", [2, 2]), ("self_attn.k_proj", [2, 2]),
        ("self_attn.v_proj", [2, 2]), ("self_attn.o_proj", [2, 2]), ("post_attention_layernorm", [2]),
        ("mlp.gate_proj", [3, 2]), ("mlp.up_proj", [3, 2]), ("mlp.down_proj", [2, 3]),
      ]
      all += shapes.map { ("model.layers.\(layer).\($0.0).weight", $0.1, value + Float(layer)) }
    }
    all.append(("model.norm.weight", [2], value))
    if !isTied { all.append(("lm_head.weight", [vocabulary, 2], value)) }
    return all.filter { !without.contains($0.0) }.map { name, shape, value in
      TestTensor(name, shape, [Float](repeating: value, count: shape.reduce(1, *)), type)
    } + extra
  }
}

/// Recipes run in a folder of models.
struct Workplace {
  var folder: String
  var options: MergeOptions

  init(_ folder: String) {
    self.folder = folder
    options = MergeOptions(output: "\(folder)/out")
    options.threads = 2
    options.memory = 1 << 30
  }

  func path(_ name: String) -> String { "\(folder)/\(name)" }

  /// Plans a recipe; touches nothing.
  func plan(_ recipe: String) throws -> MergePipeline {
    try FileSystem.write(Array(recipe.utf8), to: path("recipe.yml"))
    return try MergePipeline(recipeAt: path("recipe.yml"), options: options, listener: SilentListener())
  }

  /// Runs a recipe and reads its output.
  @discardableResult
  func run(_ recipe: String) throws -> OutputModel {
    _ = try plan(recipe).run(listener: SilentListener())
    return try OutputModel(options.output)
  }

  static func with<T>(_ models: [String: TinyLlama] = [:], _ body: (inout Workplace) throws -> T) throws -> T {
    try withTemporaryFolder { folder in
      for (name, model) in models { try model.write(to: "\(folder)/\(name)") }
      var place = Workplace(folder)
      return try body(&place)
    }
  }
}

/// A model read back.
struct OutputModel {
  var config: JSON?
  /// Names in the order of their bytes.
  var names: [String] = []
  var shapes: [String: [Int]] = [:]
  var types: [String: ElementType] = [:]
  var bytes: [String: [UInt8]] = [:]

  init(_ path: String) throws {
    let checkpoint = try SafetensorsCheckpoint(at: path)
    config = checkpoint.config
    for parameter in checkpoint.parameters {
      guard case .stored(let tensor) = parameter.recipe else { continue }
      names.append(tensor.name)
      shapes[tensor.name] = tensor.shape
      types[tensor.name] = tensor.elementType
      bytes[tensor.name] = try File.reading(tensor.file).read(tensor.byteCount, at: tensor.offset)
    }
  }

  func values(_ name: String) -> [Float] {
    guard let type = types[name], let bytes = bytes[name] else { return [] }
    return type.values(of: bytes)
  }

  /// The first element of a tensor: of tiny models, the value of all.
  func first(_ name: String) -> Float? { values(name).first }
}
