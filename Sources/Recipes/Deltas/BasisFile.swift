public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

extension Problem.Code {
  /// A file that is no basis, or a model that it does not have.
  public static let basisFormat = Problem.Code("basis.format")
}

/// Several fine-tunes of one base in one safetensors file: tensors that they share, and coefficients of each.
///
/// A parameter P of model i is `base + sum_j c_ij s_j T_j` with `T_j` the tensor `P.basis.j`. The entry `espalier_basis`
/// of `__metadata__`:
///
///     {"version": 1, "models": [NAME], "rank": 2, "base": {"name", "weights", "config", "sample"},
///      "tensors": {P: {"shape", "scales": [s_j], "coefficients": [[c_ij, j], i], "xxh3": [..]}}}
struct BasisFile: Sendable {
  struct Tensor: Sendable {
    var name: String
    var shape: [Int]
    /// What the stored numbers of each basis tensor are multiplied by.
    var scales: [Double]
    /// A row a model.
    var coefficients: [[Double]]
    var parts: [StoredTensor]
    var digests: [Digest]

    /// What the file's metadata say of it.
    var entry: JSON {
      [
        "shape": .array(shape.map { .number($0) }), "scales": .array(scales.map { .number($0) }),
        "coefficients": .array(coefficients.map { .array($0.map { .number($0) }) }),
        "xxh3": .array(digests.map { .string($0.description) }),
      ]
    }

    /// The change of a model.
    func change(of model: Int) throws(Problem) -> DeltaTensor {
      try DeltaTensor(
        name: name, shape: shape, form: .combination(zip(coefficients[model], scales).map { $0 * $1 }), scale: 1,
        parts: parts, digests: digests)
    }
  }

  static let key = "espalier_basis"
  static let version = 1

  var models: [String]
  var rank: Int
  var baseName: String
  var base: BaseIdentity
  var tensors: [Tensor]

  init(models: [String], rank: Int, baseName: String, base: BaseIdentity, tensors: [Tensor]) {
    (self.models, self.rank, self.baseName, self.base, self.tensors) = (models, rank, baseName, base, tensors)
  }

  /// The model that a name means: as it was given, its last component, or its number from 1.
  func index(of model: String, path: String) throws(Problem) -> Int {
    let index =
      models.firstIndex { ExactString($0) == ExactString(model) }
      ?? models.firstIndex { ExactString(FileSystem.lastComponent(of: $0)) == ExactString(model) }
      ?? models.indices.first { "\($0 + 1)" == model }
    guard let index else {
      throw Problem(
        .basisFormat, "the basis has no model \(model)", remedy: "It has \(models.joined(separator: ", ")).", file: path
      )
    }
    return index
  }

  var metadata: [(String, String)] {
    let record: JSON = [
      "version": .number(Self.version), "models": .array(models.map { .string($0) }), "rank": .number(rank),
      "base": .object([("name", .string(baseName))] + base.members),
      "tensors": .object(tensors.map { ($0.name, $0.entry) }),
    ]
    return [(Self.key, record.text())]
  }

  /// Whether a file says that it is a basis.
  static func isBasis(_ path: String) -> Bool {
    guard FileSystem.isFile(path), let file = try? WeightFile.open(path),
      let header = try? SafetensorsHeader(reading: file)
    else { return false }
    return header.metadata.contains { ExactString($0.key) == ExactString(Self.key) }
  }

  /// - Throws: `basis.format`.
  init(at path: String) throws(Problem) {
    do throws(Problem) {
      let header = try SafetensorsHeader(reading: try WeightFile.open(path))
      guard let text = header.metadata.first(where: { ExactString($0.key) == ExactString(Self.key) })?.value,
        let json = try? JSON(parsing: Array(text.utf8)), json["version"]?.integer == Self.version
      else {
        throw Problem(
          .basisFormat, "the file is no basis that this version reads", remedy: "`espalier basis make` writes them.")
      }
      models = json["models"]?.array?.compactMap(\.string) ?? []
      rank = json["rank"]?.integer ?? 0
      baseName = json["base"]?["name"]?.string ?? ""
      base = try BaseIdentity(json["base"])
      var parts = Dictionary(header.tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
      var tensors: [Tensor] = []
      for (name, entry) in json["tensors"]?.members?.pairs ?? [] {
        let tensor = try Tensor(name, entry, taking: &parts)
        guard tensor.coefficients.count == models.count else {
          throw Problem(
            .basisFormat, "there are coefficients of \(tensor.coefficients.count) models, not of \(models.count)",
            tensor: name)
        }
        tensors.append(tensor)
      }
      if let stranger = parts.keys.map(\.text).min(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
        throw Problem(.basisFormat, "the tensor belongs to no parameter", tensor: stranger)
      }
      self.tensors = tensors
    } catch { throw error.at(file: path) }
  }
}

extension BasisFile.Tensor {
  /// - Parameter tensors: of the file; those that are its parts are taken out.
  /// - Throws: `basis.format`.
  init(_ name: String, _ entry: JSON, taking tensors: inout [ExactString: StoredTensor]) throws(Problem) {
    func numbers(_ json: JSON?) -> [Double] { (json?.array ?? []).compactMap(\.number) }
    let sizes = entry["shape"]?.array ?? []
    let scales = numbers(entry["scales"])
    let coefficients = (entry["coefficients"]?.array ?? []).map { numbers($0) }
    let digests = (entry["xxh3"]?.array ?? []).compactMap { $0.string.flatMap { Digest($0) } }
    var parts: [StoredTensor] = []
    for index in scales.indices {
      if let part = tensors.removeValue(forKey: ExactString("\(name).basis.\(index)")) { parts.append(part) }
    }
    let shape = sizes.compactMap(\.integer)
    guard shape.count == sizes.count, coefficients.allSatisfy({ $0.count == scales.count }),
      parts.count == scales.count, digests.count == scales.count
    else { throw Problem(.basisFormat, "shape, scales, coefficients and tensors do not fit", tensor: name) }
    self.init(name: name, shape: shape, scales: scales, coefficients: coefficients, parts: parts, digests: digests)
    for model in coefficients.indices { _ = try change(of: model) }
  }
}
