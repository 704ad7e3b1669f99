import Driver
import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics

// Programs of a family: an input's bytes choose statements and fill them in. Whatever they say, the network is refused
// when it is made, or it runs: by itself, as a language model, as an encoder, as both with a decoder.

/// $ a slot, % a parameter, # a number, ? a truth value.
let templates = [
  "$ = embedding($, @%)", "$ = embedding($, @%, offset: #)", "$ = map($, @%)", "$ = rmsNorm($, @%, epsilon: 1)",
  "$ = rmsNorm($, @%, epsilon: 1, groups: #)", "$, $ = rotary($, $, headWidth: #)", "$ = rotary(headWidth: #)",
  "$ = rotary($, headWidth: #, width: #, interleaved: ?)", "$ = attention($, $, $, heads: #, scale: 1, causal: ?)",
  "$ = attention($, $, $, heads: #, keyValueHeads: #, scale: 1, window: #)",
  "$ = attention($, $, $, $, heads: #, scale: 1, causal: ?)", "$ = add($, $)", "$ = multiply($, $)",
  "$ = scale($, by: #)",
  "$ = softCap($, bound: #)", "$ = activate($, f: 'gelu')", "$ = gate($, $, f: 'silu')", "$ = select($, row: 'first')",
  "$ = select($, $, row: 'last', skipping: #)", "$ = layerNorm($, @%, epsilon: 1)",
  "$, $ = split($, by: @%, into: 'a b')", "$ = split($, by: @%, into: 'b+a+b')",
  "$ = experts($, $, gate: @%, up: @%, down: @%, count: #, f: 'silu', normalize: ?)",
  "$ = relativeBias(@%, maxDistance: #, causal: ?)", "$ = convolution1d($, @%)",
  "$ = selectiveScan($, $, $, $, decay: @%, skip: @%)",
  "$ = stateSpaceScan($, $, $, $, step: @%, decay: @%, skip: @%, groups: #)",
  "$ = convolution2d($, @%, stride: #, padding: #)",
  "$ = batchNorm($, @%, bias: @%, mean: @%, variance: @%, epsilon: 1)", "$ = pool($, f: 'mean')",
  "$ = pool($, f: 'max', size: #, stride: #, padding: #)", "$ = prepend($, @%)", "$ = addPositions($, @%)",
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
      case "$": statement += choose(slots)
      case "%": statement += choose(shapes.map(\.name))
      case "#": statement += choose(numbers)
      case "?": statement += choose(["true", "false"])
      default: statement.append(character)
      }
    }
    sections[["before", "layer", "after", "head"][Int(first) % 4], default: []].append(statement)
  }
  let writing = sections.values.joined().map { $0.prefix { $0 != "=" } }.joined(separator: " ")
  let outputs = [("final", "final"), ("last_hidden_state", "states"), ("logits", "logits"), ("x", "x")]
    .filter { writing.contains($0.1) }.map { ($0.0, JSON.string($0.1)) }
  let written = sections.map { name, list in "\"\(name)\": \(JSON.array(list.map(JSON.string)).text())" }.sorted()
  let parameters = shapes.map { name, shape in
    let sizes = name == "fused" ? ["a: 1 | b: 3", "4"] : shape.map { "\($0)" }
    let turned = name == "turned" ? #", "transposed": true"# : ""
    return
      #""\#(name).weight": {"role": "embedding", "shape": \#(JSON.array(sizes.map(JSON.string)).text())\#(turned)}"#
  }
  return """
    {"name": "fuzzed", "modelTypes": ["fuzzed"],
     "towers": {"text": {"layers": "depth", "before": {\(parameters.joined(separator: ", "))},
       "program": {\(written.joined(separator: ", ")), "outputs": {"head": \(JSON.object(outputs).text())}}}}}
    """
}

/// A folder with all parameters and a config.
func model() throws -> any Checkpoint {
  let path = (FileSystem.environment("TMPDIR") ?? "/tmp") + "/espalier-fuzz-programs"
  if !FileSystem.isFolder(path) { try FileSystem.createFolder(path) }
  var file = SafetensorsHeader.bytes(
    for: shapes.map { ("\($0.name).weight", ElementType.f32, $0.shape) }, metadata: [])
  for (_, shape) in shapes {
    let values = (0..<shape.reduce(1, *)).map { Float($0 % 7 + 1) / 8 }
    values.withUnsafeBytes { file += $0 }
  }
  try FileSystem.write(file, to: path + "/model.safetensors")
  try FileSystem.write(Array(#"{"model_type": "fuzzed", "depth": 2}"#.utf8), to: path + "/config.json")
  return try SafetensorsCheckpoint(at: path)
}

let checkpoint = try model()
let workers = WorkerPool(threads: 1)

func run(_ network: Network) throws {
  let texts: [[Int32]] = [[1, 2, 3], [4]]
  let pictures = try NetworkInputs.Pictures(
    count: 2, channels: 3, height: 4, width: 4, values: Array(repeating: 0.5, count: 96))
  let inputs = NetworkInputs(tokens: texts, decoderTokens: [[1, 2], [3]], pictures: pictures)
  for output in (try? network.forward(inputs, hiddenStates: true)) ?? [] {
    guard output.shape.reduce(1, *) == output.values.count else { finding("\(output.name): \(output.shape)") }
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

_ = fuzz { data, count in
  let bytes = Array(UnsafeBufferPointer(start: data, count: min(count, 200)))
  guard let json = try? JSON(parsing: family(bytes)),
    let architecture = try? Architecture.load(parsing: json, file: "fuzzed.json"),
    let network = try? Network(checkpoint, architectures: [architecture], workers: workers)
  else { return 0 }
  try? run(network)
  return 0
}
