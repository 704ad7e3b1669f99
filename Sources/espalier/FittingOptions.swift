public import ArgumentParser
import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierLinearMaps
import EspalierNetworks
public import EspalierRecipes

extension TypeSensitivity.Signal: ExpressibleByArgument {}

/// A target that types are chosen for.
struct FittingOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The file's size at most, e.g. 100MB: the types that lose least.", valueName: "size"))
  var size: String?

  @Option(help: ArgumentHelp("Bits a weight at most, over all tensors, e.g. 4.5.", valueName: "bits"))
  var bits: Double?

  @Option(
    help: ArgumentHelp(
      "Text on which the effect of every tensor is measured (repeatable). Without --type, --max-kl is met on it by the "
        + "smallest file.", valueName: "file"), completion: .file())
  var effectText: [String] = []

  @Option(
    help: """
      What the loss of a tensor in a type is foreseen by: measured (what it does to predictions on --effect-text), or \
      variance (of its weights; needs no text, for --size and --bits).
      """)
  var signal = TypeSensitivity.Signal.measured

  @Option(help: "Windows of each --effect-text.")
  var effectLimit = 4

  @Option(help: "Tokens of a window of --effect-text.")
  var effectWindow = 128

  @Option(help: ArgumentHelp("Types to choose from, by commas (default: all from Q2_K to Q8_0).", valueName: "list"))
  var types: String?

  @Option(help: ArgumentHelp("A table that was measured before, in place of --effect-text.", valueName: "file"))
  var table: String?

  @Option(help: ArgumentHelp("Keep the measured table in this file.", valueName: "file"))
  var saveTable: String?

  func validate() throws {
    if let size, ByteCount.parse(size) == nil { throw ValidationError("--size \(size) is not a size like 100MB.") }
    if let bits, !(bits > 0 && bits <= 32) { throw ValidationError("--bits must be above 0 and at most 32.") }
    if effectLimit < 1 { throw ValidationError("--effect-limit must be at least 1.") }
    if effectWindow < 2 { throw ValidationError("--effect-window must be at least 2.") }
    if let types {
      do throws(Problem) {
        if try Self.blockTypes(types).isEmpty { throw Problem(.quantizationType, "there is no name of a type") }
      } catch { throw ValidationError("--types: \(error.message).") }
    }
  }

  private static func blockTypes(_ list: String) throws(Problem) -> [BlockType] {
    try TypeFitting.types(named: list.split(separator: ",").map(String.init))
  }

  /// - Parameters:
  ///   - type: of `--type`.
  ///   - maxKl: of `--max-kl`.
  func check(type: String?, maxKl: String?) throws {
    let targets = [size != nil, bits != nil, type == nil && maxKl != nil && size == nil && bits == nil]
      .filter(\.self).count
    switch (type, targets) {
    case (nil, 0): throw ValidationError("Give --type, or a target: --size, --bits or --max-kl.")
    case (_?, 1...): throw ValidationError("Give --type or a target, not both.")
    case (_, 2...): throw ValidationError("Give one target: --size, --bits or --max-kl.")
    default: break
    }
    if type == nil, effectText.isEmpty, table == nil, signal == .measured {
      throw ValidationError(
        "A target needs --effect-text, on which effects are measured, or --table, or --signal variance.")
    }
    if type != nil, !effectText.isEmpty || table != nil || types != nil || saveTable != nil || signal != .measured {
      throw ValidationError("--effect-text, --types, --table, --save-table and --signal are for targets.")
    }
    if table != nil, signal != .measured {
      throw ValidationError("--signal is of a table that is made; --table has its own.")
    }
    if signal == .variance, size == nil, bits == nil {
      throw ValidationError("--signal variance foresees no divergence: give --size or --bits.")
    }
    if type == nil, size == nil, bits == nil, effectText.isEmpty {
      throw ValidationError("--max-kl as a target needs --effect-text, on which it is met.")
    }
  }

  private func target(_ maxKl: String?) throws(Problems) -> TypeFit.Target? {
    if let size = size.flatMap({ ByteCount.parse($0) }) { return .bytes(size) }
    if let bits { return .bits(bits) }
    guard let maxKl else { return nil }
    guard let limit = Double(maxKl), limit > 0, limit.isFinite else {
      throw Problems([Problem(.quantizationFit, "--max-kl \(maxKl) is not a divergence above 0")])
    }
    return .divergence(limit)
  }

  /// Nil if there is no target.
  ///
  /// - Parameter maxKl: a divergence that is a target.
  func fitting(
    _ request: QuantizationRequest, maxKl: String?, of checkpoint: any Checkpoint, run: RunOptions,
    listener: any ProgressListener
  ) throws(Problems) -> TypeFitting? {
    guard let target = try target(maxKl) else { return nil }
    let length = min(effectWindow, checkpoint.contextLength ?? effectWindow)
    var fitting = TypeFitting(
      request, to: target,
      evaluation: ModelEvaluation(
        data: try EvaluationData(texts: effectText), cut: TextProtocol(.windows(length: length), limit: effectLimit),
        run: run, listener: listener))
    fitting.signal = signal
    if let types, let chosen = try? Self.blockTypes(types) { fitting.types = chosen }
    if let table {
      do throws(Problem) { fitting.table = try TypeSensitivity(at: table) } catch { throw Problems([error]) }
    }
    return fitting
  }

  /// Keeps the table where it is asked for.
  func save(_ outcome: TypeFitting.Outcome) throws(Problems) {
    guard let saveTable else { return }
    do throws(Problem) {
      try FileSystem.write(outcome.table.json.bytes(pretty: true) + [UInt8(ascii: "\n")], to: saveTable)
    } catch { throw Problems([error]) }
  }
}
