public import EspalierBasics
internal import EspalierEvaluation

/// How near the models of a basis are to what they were.
public struct BasisReport: Sendable {
  struct Part: Sendable {
    var name: String
    var elements: Int
    /// Of the change of each model.
    var squaredNorms: [Double]
    /// As stored, measured.
    var squaredErrors: [Double]
    /// For rank 1, 2, ...: of each model, before rounding, from the Gram matrix.
    var squaredErrorsByRank: [[Double]]

    init(
      name: String, elements: Int, squaredNorms: [Double], squaredErrors: [Double], squaredErrorsByRank: [[Double]]
    ) {
      (self.name, self.elements, self.squaredNorms) = (name, elements, squaredNorms)
      (self.squaredErrors, self.squaredErrorsByRank) = (squaredErrors, squaredErrorsByRank)
    }

    /// As ``json`` has it; nil if it is none.
    init?(_ name: String, _ json: JSON?) {
      func numbers(_ json: JSON?) -> [Double]? { json?.array?.compactMap(\.number) }
      guard let elements = json?["elements"]?.integer, let norms = numbers(json?["squared_norms"]),
        let errors = numbers(json?["squared_errors"]), let ranks = json?["by_rank"]?.array?.compactMap(numbers),
        errors.count == norms.count, ranks.count == norms.count, ranks.allSatisfy({ $0.count == norms.count })
      else { return nil }
      self.init(
        name: name, elements: elements, squaredNorms: norms, squaredErrors: errors, squaredErrorsByRank: ranks)
    }

    var json: JSON {
      func numbers(_ values: [Double]) -> JSON { .array(values.map { .number($0) }) }
      return [
        "elements": .number(elements), "squared_norms": numbers(squaredNorms), "squared_errors": numbers(squaredErrors),
        "by_rank": .array(squaredErrorsByRank.map(numbers)),
      ]
    }
  }

  public let output: String
  public let base: String
  public let names: [String]
  public let rank: Int
  let parts: [Part]
  public let fileBytes: Int
  public let seconds: Double

  private func share(_ model: Int, _ squares: (Part) -> Double) -> Double {
    let whole = parts.reduce(0) { $0 + $1.squaredNorms[model] }
    return whole > 0 ? (max(0, parts.reduce(0) { $0 + squares($1) }) / whole).squareRoot() : 0
  }

  /// ‖change - rebuilt‖ / ‖change‖ of each model as stored, measured.
  public var errors: [Double] { names.indices.map { model in share(model) { $0.squaredErrors[model] } } }

  /// The same for each rank from 1, before rounding.
  public var errorsByRank: [[Double]] {
    names.indices.map { rank in names.indices.map { model in share(model) { $0.squaredErrorsByRank[rank][model] } } }
  }

  /// What the changes of all models take in float16.
  public var halfBytes: Int { 2 * names.count * parts.reduce(0) { $0 + $1.elements } }

  public var json: JSON {
    [
      "event": "basis", "output": .string(output), "base": .string(base), "rank": .number(rank),
      "error_norm": "relative to the norm of the model's change", "bytes_f16": .number(halfBytes),
      "file_bytes": .number(fileBytes),
      "models": .array(
        names.indices.map { model in
          [
            "name": .string(names[model]), "error": .number(errors[model]), "kind": "measured",
            "error_by_rank": .array(errorsByRank.map { .number($0[model]) }),
          ]
        }), "seconds": .number(seconds),
    ]
  }

  public var text: String {
    var table = TextTable()
    table.add("model", align: .left, names)
    table.add("error", errors.map { Figures.text($0) })
    for (index, errors) in errorsByRank.enumerated() {
      table.add("rank \(index + 1)", errors.map { Figures.text($0) })
    }
    return
      (table.lines + [
        "",
        "error: of the change, as stored, measured; by rank: before rounding, exact",
        "\(output): \(names.count) models by \(rank) tensors a parameter, \(ByteCount.text(fileBytes)); their changes take "
          + "\(ByteCount.text(halfBytes)) in float16; \(Decimals.text(seconds, 1)) s",
      ]).joined(separator: "\n")
  }
}
