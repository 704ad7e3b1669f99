import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierRecipes

struct Forward: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs a model once on given inputs and writes what comes out.",
    discussion: """
      Inputs are tensors of a safetensors file by their usual names: input_ids, attention_mask, token_type_ids,
      decoder_input_ids, decoder_attention_mask (integers [batch, length]), pixel_values (floats [batch, channels,
      height, width]). Outputs are float32: logits, last_hidden_state, pooled, final, and with --hidden-states embed,
      layer.N (what block N gives, before the last norm) and decoder_layer.N. Padding never enters the network; its
      rows are 0.

      EXAMPLES
        espalier forward Models/base --inputs ids.safetensors -o out.safetensors
        espalier forward model.gguf --inputs ids.safetensors -o out.safetensors --hidden-states
      """)

  @Argument(help: "A model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(help: "A safetensors file with the inputs.", completion: .file(extensions: ["safetensors"]))
  var inputs: String

  @Option(name: [.short, .long], help: "The safetensors file to write.")
  var output: String

  @Flag(help: "Write what every block gives, too.")
  var hiddenStates = false

  @Flag(help: "Replace an existing output file.")
  var force = false

  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      do throws(Problem) {
        if FileSystem.kind(output) != nil, !force {
          throw Problem(
            .outputExists, "the output exists already", remedy: "Choose another name, or give --force.", file: output)
        }
      } catch { throw Problems([error]) }
      let checkpoint = try lookup.open(model)
      let options = try running.options(work, lookup, default: .exact)
      do throws(Problem) {
        try ForwardOutputs.check(
          output, against: [inputs] + checkpoint.weightFiles + (checkpoint.folder.map { ["\($0)/config.json"] } ?? []))
        let network = try options.network(of: checkpoint)
        for problem in network.warnings { style.listener().receive(.problem(problem)) }
        let outputs = try network.forward(try ForwardInputs.read(inputs), hiddenStates: hiddenStates)
        try ForwardOutputs.write(outputs, to: output, mode: options.mode)
        guard !style.quiet else { return }
        for output in outputs {
          if style.json {
            print(
              JSON.object([("output", .string(output.name)), ("shape", .array(output.shape.map { .number($0) }))])
                .text())
          } else {
            print("\(output.name)  \(output.shape.map(String.init).joined(separator: " x "))")
          }
        }
      } catch { throw Problems([error]) }
    }
  }
}

/// The inputs of a forward pass, read from a safetensors file.
enum ForwardInputs {
  static let names = [
    "input_ids", "attention_mask", "token_type_ids", "decoder_input_ids", "decoder_attention_mask", "pixel_values",
  ]

  static func read(_ path: String) throws(Problem) -> NetworkInputs {
    let file = try File.reading(path)
    let header: SafetensorsHeader
    do throws(Problem) { header = try SafetensorsHeader(reading: file) } catch { throw error.at(file: path) }
    var inputs = NetworkInputs()
    for tensor in header.tensors {
      do throws(Problem) {
        switch tensor.name {
        case "input_ids": inputs.tokens = try integers(tensor, file)
        case "attention_mask": inputs.mask = try mask(tensor, file)
        case "token_type_ids": inputs.types = try integers(tensor, file)
        case "decoder_input_ids": inputs.decoderTokens = try integers(tensor, file)
        case "decoder_attention_mask": inputs.decoderMask = try mask(tensor, file)
        case "pixel_values": inputs.pictures = try pictures(tensor, file)
        default: continue
        }
      } catch { throw error.at(file: path).at(tensor: tensor.name) }
    }
    guard !inputs.tokens.isEmpty || inputs.pictures != nil else {
      throw Problem(
        .networkInput, "the file has neither input_ids nor pixel_values",
        remedy: "Inputs are found by name: \(names.joined(separator: ", ")).", file: path)
    }
    return inputs
  }

  private static func mask(_ tensor: StoredTensor, _ file: File) throws(Problem) -> [[Bool]] {
    let values = try integers(tensor, file)
    if let other = values.joined().first(where: { $0 != 0 && $0 != 1 }) {
      throw Problem(
        .networkInput, "\(tensor.name) is \(other) somewhere: it is 1 where a token counts, and 0 where it does not")
    }
    return values.map { $0.map { $0 == 1 } }
  }

  private static func integers(_ tensor: StoredTensor, _ file: File) throws(Problem) -> [[Int32]] {
    let types: [ElementType] = [.i64, .i32, .i16, .u8, .i8, .u16, .u32, .u64, .bool]
    guard types.contains(tensor.elementType), tensor.shape.count == 2, !tensor.shape.contains(0) else {
      throw Problem(.networkInput, "expected integers [batch, length], found \(description(of: tensor))")
    }
    let bytes = try file.read(tensor.byteCount, at: tensor.offset)
    let width = tensor.elementType.byteWidth
    let isSigned = [.i64, .i32, .i16, .i8].contains(tensor.elementType)
    func value(at index: Int) -> Int64 {
      var bits: UInt64 = 0
      for byte in 0..<width { bits |= UInt64(bytes[index * width + byte]) << (8 * UInt64(byte)) }
      let unused = 64 - 8 * width
      return isSigned ? Int64(bitPattern: bits << unused) >> unused : Int64(truncatingIfNeeded: bits)
    }
    let length = tensor.shape[1]
    return (0..<tensor.shape[0]).map { row in (0..<length).map { Int32(clamping: value(at: row * length + $0)) } }
  }

  private static func pictures(_ tensor: StoredTensor, _ file: File) throws(Problem) -> NetworkInputs.Pictures {
    guard tensor.elementType.isFloat, tensor.shape.count == 4 else {
      throw Problem(
        .networkInput, "expected floats [batch, channels, height, width], found \(description(of: tensor))")
    }
    let bytes = try file.read(tensor.byteCount, at: tensor.offset)
    var values = [Float](repeating: 0, count: tensor.elementCount)
    values.withUnsafeMutableBufferPointer { values in
      bytes.withUnsafeBytes { bytes in
        guard let source = bytes.baseAddress, let target = values.baseAddress else { return }
        tensor.elementType.decode(source, into: target, count: values.count)
      }
    }
    let shape = tensor.shape
    return try .init(count: shape[0], channels: shape[1], height: shape[2], width: shape[3], values: values)
  }

  private static func description(of tensor: StoredTensor) -> String {
    "\(tensor.elementType.safetensorsName) [\(tensor.shape.map(String.init).joined(separator: ", "))]"
  }
}

/// The outputs of a forward pass as a safetensors file.
enum ForwardOutputs {
  /// What is written before it gets its name.
  private static func partial(_ path: String) -> String { path + ".partial" }

  /// - Throws: `output.input` if writing to `path` would replace one of the files that are read.
  static func check(_ path: String, against inputs: [String]) throws(Problem) {
    let written = [path, partial(path)].compactMap { FileSystem.resolved($0) }
    let found = inputs.first { input in FileSystem.resolved(input).map { written.contains($0) } ?? false }
    guard let input = found else { return }
    throw Problem(
      Problem.Code("output.input"), "the output \(path) and the input \(input) are one file",
      remedy: "Choose another name for the output: inputs are never written to.", file: path)
  }

  /// Writes beside the final name and renames, so that the file appears whole.
  static func write(_ outputs: [NetworkOutput], to path: String, mode: NumericMode) throws(Problem) {
    let outputs = outputs.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    var bytes = SafetensorsHeader.bytes(
      for: outputs.map { ($0.name, ElementType.f32, $0.shape) }, metadata: [("format", "pt"), ("mode", mode.rawValue)])
    for output in outputs { output.values.withUnsafeBytes { bytes.append(contentsOf: $0) } }
    try FileSystem.write(bytes, to: partial(path))
    try FileSystem.rename(partial(path), to: path)
  }
}
