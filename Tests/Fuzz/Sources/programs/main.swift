import Driver
import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics

// Programs of a family: an input's bytes choose statements and fill them in. Whatever they say, the network is refused
// when it is made, or it runs: by itself, as a language model, as an encoder, as both with a decoder.

/// S a slot, P a parameter, N a number, B a truth value.
let templates = [
  "S = embedding(S, @P)", "S = embedding(S, @P, offset: N)", "S = map(S, @P)", "S = rmsNorm(S, @P, epsilon: 1)",
  "S = rmsNorm(S, @P, epsilon: 1, groups: N)", "S, S = rotary(S, S, headWidth: N)", "S = rotary(headWidth: N)",
  "S = rotary(S, headWidth: N, width: N, interleaved: B)", "S = attention(S, S, S, heads: N, scale: 1, causal: B)",
  "S = attention(S, S, S, heads: N, keyValueHeads: N, scale: 1, window: N)",
  "S = attention(S, S, S, S, heads: N, scale: 1, causal: B)", "S = add(S, S)", "S = multiply(S, S)", "S = scale(S, by: N)",
  "S = softCap(S, bound: N)", "S = activate(S, f: 'gelu')", "S = gate(S, S, f: 'silu')", "S = select(S, row: 'first')",
  "S = select(S, S, row: 'last', skipping: N)", "S = layerNorm(S, @P, epsilon: 1)",
  "S, S = split(S, by: @P, into: 'a b')", "S = split(S, by: @P, into: 'b+a+b')",
  "S = experts(S, S, gate: @P, up: @P, down: @P, count: N, f: 'silu', normalize: B)",
  "S = relativeBias(@P, maxDistance: N, causal: B)", "S = convolution1d(S, @P)",
  "S = selectiveScan(S, S, S, S, decay: @P, skip: @P)",
  "S = stateSpaceScan(S, S, S, S, step: @P, decay: @P, skip: @P, groups: N)",
  "S = convolution2d(S, @P, stride: N, padding: N)",
  "S = batchNorm(S, @P, bias: @P, mean: @P, variance: @P, epsilon: 1)", "S = pool(S, f: 'mean')",
  "S = pool(S, f: 'max', size: N, stride: N, padding: N)", "S = prepend(S, @P)", "S = addPositions(S, @P)",
]
let slots = [
  "x", "y", "z", "q", "k", "v", "final", "logits", "tokens", "positions", "types", "decoderTokens", "pixels", "states",
]
let numbers = ["2", "1", "4", "3", "0", "8", "-1", "1048576", "9223372036854775807", "-9223372036854775807"]
let shapes: [(name: String, shape: [Int])] = [
  ("embed", [5, 4]), ("norm", [4]), ("square", [4, 4]), ("head", [5, 4]), ("wide", [8, 4]), ("tall", [4, 8]),
  ("table", [1, 7, 4]), ("odd", [5, 3, 4]), ("single", [1, 4]), ("conv", [4, 1, 3]), ("patch", [4, 3, 2, 2]),
  ("pixel", [1, 3, 1, 1]), ("decay", [4, 2]), ("pair", [2]), ("half", [2, 4]), ("fused", [4, 4]), ("turned", [4, 6]),
  ("nothing", [0]),
]

/// Statements, section by section, as the bytes have them; two that most programs begin with stand before.
func family(_ bytes: some Collection<UInt8>) -> String {
  var rest = bytes[...]
  func choose(_ list: [String]) -> String { list[Int(rest.popFirst() ?? 0) % list.count] }
  var sections = ["before": ["x = embedding(tokens, @embed)"], "layer": [], "after": [], "head": []]
  while let first = rest.popFirst() {
    var statement = ""
    for character in choose(templates) {
      switch character {
      case "S": statement += choose(slots)
      case "P": statement += choose(shapes.map(\.name))
      case "N": statement += choose(numbers)
      case "B": statement += choose(["true", "false"])
      default: statement.append(character)
      }
    }
    sections[["before", "layer", "after", "head"][Int(first) % 4], default: []].append(statement)
  }
  let outputs = #"{"final": "final", "last_hidden_state": "states", "logits": "logits", "x": "x"}"#
  let written = sections.map { name, list in "\"\(name)\": \(JSON.array(list.map(JSON.string)).text())" }.sorted()
  let parameters = shapes.map { name, shape in
    let sizes = name == "fused" ? ["a: 1 | b: 3", "4"] : shape.map { "\($0)" }
    let turned = name == "turned" ? #", "transposed": true"# : ""
    return #""\#(name).weight": {"role": "embedding", "shape": \#(JSON.array(sizes.map(JSON.string)).text())\#(turned)}"#
  }
  return """
    {"name": "fuzzed", "modelTypes": ["fuzzed"],
     "towers": {"text": {"layers": "depth", "before": {\(parameters.joined(separator: ", "))},
       "program": {\(written.joined(separator: ", ")), "outputs": {"head": \(outputs)}}}}}
    """
}

/// A folder with all parameters and a config.
func model() -> any Checkpoint {
  let folder = FileSystem.environment("TMPDIR") ?? "/tmp"
  let path = "\(folder)/espalier-fuzz-\(UInt64.random(in: 0 ... .max))"
  do {
    try FileSystem.makeFolder(path)
    defer { try? FileSystem.remove(path + "/config.json") }
    var file = SafetensorsHeader.bytes(
      for: shapes.map { ("\($0.name).weight", ElementType.f32, $0.shape) }, metadata: [])
    for (_, shape) in shapes {
      let values = (0..<shape.reduce(1, *)).map { Float($0 % 7 + 1) / 8 }
      values.withUnsafeBytes { file += $0 }
    }
    try FileSystem.write(file, to: path + "/model.safetensors")
    try FileSystem.write(Array(#"{"model_type": "fuzzed", "depth": 2}"#.utf8), to: path + "/config.json")
    return try SafetensorsCheckpoint(at: path)
  } catch { fatalError("no model to run: \(error)") }
}

nonisolated(unsafe) let checkpoint = model()
let workers = WorkerPool(threads: 1)

func run(_ network: Network) throws {
  let texts: [[Int32]] = [[1, 2, 3], [4]]
  let pictures = try NetworkInputs.Pictures(
    count: 2, channels: 3, height: 4, width: 4, values: Array(repeating: 0.5, count: 96))
  let inputs = NetworkInputs(tokens: texts, decoderTokens: [[1, 2], [3]], pictures: pictures)
  for output in (try? network.forward(inputs, hiddenStates: true)) ?? [] {
    guard output.shape.reduce(1, *) == output.values.count else { fatalError("\(output.name): \(output.shape)") }
  }
  if let model = try? CausalLanguageModel(network) {
    if let states = try? model.finalStates(of: texts) {
      var logits = [Float](repeating: 0, count: 4 * model.vocabularySize)
      try? model.logits(of: states, rows: 0..<4, into: &logits)
    }
    let session = Session(model)
    for text in [[1, 2], [3], [0]] as [[Int32]] { _ = try? session.read(text) }
  }
  if let model = try? EncoderDecoderModel(network) {
    let session = try EncoderDecoderSession(model, source: [1, 2, 3])
    for text in [[1, 2], [3], [0]] as [[Int32]] { _ = try? session.read(text) }
  }
  if let model = try? SequenceEncoder(network) {
    _ = try? model.hiddenStates(of: texts)
    _ = try? model.classLogits(of: texts)
  }
}

fuzz { data, count in
  let bytes = Array(UnsafeBufferPointer(start: data, count: min(count, 200)))
  guard let json = try? JSON(parsing: family(bytes)),
    let architecture = try? Architecture.load(parsing: json, file: "fuzzed.json"),
    let network = try? Network(checkpoint, architectures: [architecture], workers: workers)
  else { return 0 }
  try? run(network)
  return 0
}
