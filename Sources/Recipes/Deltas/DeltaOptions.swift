internal import EspalierBasics
public import EspalierExecution
public import EspalierNumerics

/// How a change is coded.
public enum DeltaMethod: String, Sendable, CaseIterable {
  /// The largest entries as signs times one scale a tensor (ComPEFT, `yadav2023compeft`).
  case ternary
  /// The largest entries.
  case topk
  /// A random share of the entries, divided by that share (DARE, `yu2024dare`).
  case dare
  /// The same, divided by a q of choice (DAREx-q, `deng2024darex`).
  case darex
  /// The nearest matrices of a low rank.
  case lowrank
  /// Eight bits an entry and a scale a row.
  case int8
  /// Whichever of ternary, topk and darex is nearest at one density.
  case auto
}

/// What a delta is asked for.
public struct DeltaOptions: Sendable {
  /// The file to write.
  public var output: String
  public var method = DeltaMethod.ternary
  /// Share of a tensor's entries that is kept; nil for the method's own: 0.2, or 0.1 where entries are kept as numbers.
  public var density: Double?
  /// Of ``DeltaMethod/ternary``: the scale is this many standard deviations of the tensor's change (the paper's rule);
  /// nil for least squares, the mean magnitude of what is kept.
  public var alpha: Double?
  /// Of ``DeltaMethod/darex``: what kept entries are divided by; nil for least squares, which is 1, or for what is best
  /// on texts.
  public var q: Double?
  /// What kept entries are stored in: f16, f32, bf16 or i8.
  public var values = ElementType.f16
  /// Of ``DeltaMethod/lowrank``: as for an adapter; one must be given.
  public var rank: Int?
  public var energy: Double?
  public var seed: UInt64 = 0
  public var policy = OutputFolder.Policy()
  public var threads = Machine.processorCount
  /// Ceiling on resident memory, in bytes.
  public var memory = Machine.memoryBytes / 2
  /// A folder in which names of models are looked up.
  public var models: String?

  public init(output: String) { self.output = output }

  /// The method's share of entries.
  public var keptShare: Double { density ?? (method == .ternary || method == .auto ? 0.2 : 0.1) }

  /// What reports and files say of it.
  var record: JSON {
    var pairs: [(String, JSON)] = [("method", .string(method.rawValue))]
    switch method {
    case .ternary:
      pairs += [("density", .number(keptShare)), ("alpha", alpha.map { .number($0) } ?? .null)]
    case .topk: pairs += [("density", .number(keptShare)), ("values", .string(values.rawValue))]
    case .dare, .darex, .auto:
      pairs += [
        ("density", .number(keptShare)), ("values", .string(values.rawValue)), ("seed", .literal("\(seed)")),
      ]
      if method == .darex { pairs.append(("q", q.map { .number($0) } ?? .null)) }
    case .lowrank:
      pairs += [("rank", rank.map { .number($0) } ?? .null), ("energy", energy.map { .number($0) } ?? .null)]
    case .int8: break
    }
    return .object(pairs)
  }
}
