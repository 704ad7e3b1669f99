public import EspalierBasics
internal import EspalierNumerics

extension Problem.Code {
  /// A file that is no delta, or one whose parts do not fit together.
  public static let deltaFormat = Problem.Code("delta.format")
  /// Bytes of a delta that are not those that were written.
  public static let deltaDamaged = Problem.Code("delta.damaged")
  /// A delta of another base.
  public static let deltaBase = Problem.Code("delta.base")
}

/// The change of one tensor in a coded form: what is added to the base.
///
/// With n elements in row-major order and rows along the first dimension:
///
///     ternary       scale * t_i              t in {0, 1, -1}, five a byte
///     bitmap        scale * v_rank(i)        where bit i is set, else 0
///     random        scale * v_rank(i)        where a number keyed by seed, name and i keeps i, else 0: no mask is stored
///     rows8         scale * s_row * c_i      c in -127...127
///     dense         scale * v_i
///     low_rank      scale * B A
///     combination   scale * sum_j c_j v_ji   over tensors that several models share
///
/// Values are stored in any float type or as int8.
public struct DeltaTensor: Sendable, Hashable, Codable {
  public enum Form: Sendable, Hashable, Codable {
    case ternary
    case bitmap
    /// Element i is kept as ``KeyedRandom/keep(_:startingAt:count:probability:)`` keeps it.
    case random(seed: UInt64, density: Double)
    case rows8
    case dense
    case lowRank
    case combination([Double])

    /// What files call it.
    public var name: String {
      switch self {
      case .ternary: "ternary"
      case .bitmap: "bitmap"
      case .random: "random"
      case .rows8: "rows8"
      case .dense: "dense"
      case .lowRank: "low_rank"
      case .combination: "combination"
      }
    }

    /// Ends of the names of its parts, in their order.
    public var suffixes: [String] {
      switch self {
      case .ternary: ["trits"]
      case .bitmap: ["mask", "values"]
      case .random, .dense: ["values"]
      case .rows8: ["codes", "scales"]
      case .lowRank: ["B", "A"]
      case .combination(let coefficients): coefficients.indices.map { "basis.\($0)" }
      }
    }
  }

  /// Of the parameter that is changed, or of the adapter's tensor that is coded.
  public var name: String
  public var shape: [Int]
  public var form: Form
  public var scale: Double
  /// As ``Form/suffixes`` names them.
  public var parts: [StoredTensor]
  /// Of the bytes of each part.
  public var digests: [Digest]

  /// - Throws: `delta.format` for parts that do not fit.
  public init(
    name: String, shape: [Int], form: Form, scale: Double, parts: [StoredTensor], digests: [Digest]
  ) throws(Problem) {
    self.name = name
    self.shape = shape
    self.form = form
    self.scale = scale
    self.parts = parts
    self.digests = digests
    do throws(Problem) { try validate() } catch { throw error.at(tensor: name) }
  }

  public var elementCount: Int { shape.reduce(1, *) }
  public var byteCount: Int { parts.reduce(0) { $0 + $1.byteCount } }
  var rows: Int { shape.first ?? 1 }
  var columns: Int { shape.dropFirst().reduce(1, *) }

  private func validate() throws(Problem) {
    guard let count = shape.checkedProduct, scale.isFinite, parts.count == form.suffixes.count,
      digests.count == parts.count
    else { throw Problem(.deltaFormat, "the shape, the scale or the parts of the change cannot be") }
    func require(_ part: Int, _ types: [ElementType], _ elements: Int?) throws(Problem) {
      let found = parts[part]
      guard types.contains(found.elementType), elements.map({ $0 == found.elementCount }) ?? true else {
        throw Problem(
          .deltaFormat,
          "the part \(form.suffixes[part]) is \(found.elementType.safetensorsName) of the shape \(found.shape), which a "
            + "\(form.name) change of the shape \(shape) has not")
      }
    }
    switch form {
    case .ternary: try require(0, [.u8], (count + 4) / 5)
    case .bitmap:
      try require(0, [.u8], (count + 7) / 8)
      try require(1, Self.valueTypes, nil)
    case .random(_, let density):
      guard density > 0, density <= 1 else { throw Problem(.deltaFormat, "a density of \(density) cannot be") }
      try require(0, Self.valueTypes, nil)
      // Ten standard deviations: a shape is no larger than the stored values make likely.
      let expected = density * Double(count)
      guard abs(Double(parts[0].elementCount) - expected) <= 10 * expected.squareRoot() + 10 else {
        throw Problem(
          .deltaFormat,
          "there are \(parts[0].elementCount) values, which no random choice of \(count) at a density of "
            + "\(density) has")
      }
    case .rows8:
      try require(0, [.i8], count)
      try require(1, [.f32], rows)
    case .dense: try require(0, Self.valueTypes, count)
    case .lowRank:
      let rank = parts[1].shape.first ?? 0
      // Too many to be counted are none that a part has.
      try require(0, Self.valueTypes, [rows, rank].checkedProduct ?? -1)
      try require(1, Self.valueTypes, [rank, columns].checkedProduct ?? -1)
    case .combination(let coefficients):
      guard coefficients.allSatisfy(\.isFinite) else { throw Problem(.deltaFormat, "a coefficient is not finite") }
      for part in parts.indices { try require(part, Self.valueTypes, count) }
    }
  }

  static let valueTypes: [ElementType] = [.f32, .f16, .bf16, .i8]

  // MARK: - As files have it

  /// What the file's metadata say of it.
  public var entry: JSON {
    var entry: [(String, JSON)] = [("form", .string(form.name)), ("shape", .array(shape.map { .number($0) }))]
    if case .random(let seed, let density) = form {
      entry += [("seed", .literal("\(seed)")), ("density", .number(density))]
    }
    entry.append(("scale", .number(scale)))
    entry.append(("xxh3", .array(digests.map { .string($0.description) })))
    return .object(entry)
  }

  /// - Parameter tensors: of the file; those that are its parts are taken out.
  /// - Throws: `delta.format`.
  public init(
    _ name: String, _ entry: JSON, taking tensors: inout [ExactString: StoredTensor]
  ) throws(Problem) {
    let sizes = entry["shape"]?.array ?? []
    let shape = sizes.compactMap(\.integer)
    let digests = (entry["xxh3"]?.array ?? []).compactMap { $0.string.flatMap { Digest($0) } }
    guard shape.count == sizes.count, let scale = entry["scale"]?.number else {
      throw Problem(.deltaFormat, "the entry lacks `shape` or `scale`", tensor: name)
    }
    let form: Form
    switch entry["form"]?.string {
    case "ternary": form = .ternary
    case "bitmap": form = .bitmap
    case "rows8": form = .rows8
    case "dense": form = .dense
    case "low_rank": form = .lowRank
    case "random":
      guard case .literal(let text)? = entry["seed"], let seed = UInt64(text), let density = entry["density"]?.number
      else { throw Problem(.deltaFormat, "the entry lacks `seed` or `density`", tensor: name) }
      form = .random(seed: seed, density: density)
    case let other:
      throw Problem(
        .deltaFormat, "the form \(other.map { "\"\($0)\"" } ?? "(none)") is not known",
        remedy: "Known: ternary, bitmap, random, rows8, dense, low_rank.", tensor: name)
    }
    var parts: [StoredTensor] = []
    for suffix in form.suffixes {
      guard let part = tensors.removeValue(forKey: ExactString("\(name).\(suffix)")) else {
        throw Problem(.deltaFormat, "the part \(suffix) of the change is not in the file", tensor: name)
      }
      parts.append(part)
    }
    try self.init(name: name, shape: shape, form: form, scale: scale, parts: parts, digests: digests)
  }
}
