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
      ?? Int(model).flatMap { models.indices.contains($0 - 1) ? $0 - 1 : nil }
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
      "tensors": .object(
        tensors.map { tensor in
          (
            tensor.name,
            [
              "shape": .array(tensor.shape.map { .number($0) }),
              "scales": .array(tensor.scales.map { .number($0) }),
              "coefficients": .array(tensor.coefficients.map { .array($0.map { .number($0) }) }),
              "xxh3": .array(tensor.digests.map { .string($0.description) }),
            ]
          )
        }),
    ]
    return [(Self.key, record.text())]
  }

  /// - Throws: `basis.format`.
  init(at path: String) throws(Problem) {
    do throws(Problem) {
      let header = try SafetensorsHeader(reading: try File.reading(path))
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
      let stored = Dictionary(
        header.tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
      var tensors: [Tensor] = []
      for (name, entry) in json["tensors"]?.members?.pairs ?? [] {
        func numbers(_ json: JSON?) -> [Double] { (json?.array ?? []).compactMap(\.number) }
        let scales = numbers(entry["scales"])
        let coefficients = (entry["coefficients"]?.array ?? []).map { numbers($0) }
        let digests = (entry["xxh3"]?.array ?? []).compactMap { $0.string.flatMap { Digest($0) } }
        let parts = scales.indices.compactMap { stored[ExactString("\(name).basis.\($0)")] }
        guard coefficients.count == models.count, coefficients.allSatisfy({ $0.count == scales.count }),
          parts.count == scales.count, digests.count == scales.count
        else { throw Problem(.basisFormat, "scales, coefficients and tensors do not fit", tensor: name) }
        tensors.append(
          Tensor(
            name: name, shape: (entry["shape"]?.array ?? []).compactMap(\.integer), scales: scales,
            coefficients: coefficients, parts: parts, digests: digests))
      }
      self.tensors = tensors
    } catch { throw error.at(file: path) }
  }
}
