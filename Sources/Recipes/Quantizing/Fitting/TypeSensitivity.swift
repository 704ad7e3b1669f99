public import EspalierBasics
public import EspalierLinearMaps

extension Problem.Code {
  /// A target that no types reach, or a table of another model.
  public static let quantizationFit = Problem.Code("quantize.fit")
}

/// What every tensor loses in every type, and what its losses count: found once, read by every fit.
///
/// By ``Signal/measured`` they count what they do to the model's predictions.
/// The divergence that a tensor in a type causes is taken to grow with its squared error, and divergences of several
/// tensors to add up:
///
///     KL(types) ~ sum over t of k_t e_t(type),     k_t = KL_t / e_t(probe)
///
/// `e` is the squared error, each column's times its importance; `KL_t` was measured with tensor t alone in the type
/// `probe`. Near a minimum of the divergence (which the model itself is, at 0) its expansion begins with squares; that
/// errors of different tensors are independent is an assumption, and what a fit predicts is compared with what it
/// measures.
/// By ``Signal/variance`` it is their share of the weights' variance (``VarianceTable``).
public struct TypeSensitivity: Sendable, Hashable {
  /// By what losses of tensors are foreseen.
  public enum Signal: String, Sendable, Hashable, CaseIterable {
    /// The divergence of the model's predictions, measured on text.
    case measured
    /// The variance of weights; neither text nor a run of the model.
    case variance
  }

  public struct Choice: Sendable, Hashable {
    public var format: WeightFormat
    public var bytes: Int
    /// The sum of squared errors, each times the importance of its column.
    public var error: Double

    public init(format: WeightFormat, bytes: Int, error: Double) {
      self.format = format
      self.bytes = bytes
      self.error = error
    }
  }

  /// What is known of a tensor by itself.
  public struct Effect: Sendable, Hashable {
    /// The type it had for it, and the squared error that it had in it.
    public var format: WeightFormat
    public var error: Double
    /// A divergence in nats a token; by variance the share that the error is of the variance of all weights.
    public var loss: Double

    public init(format: WeightFormat, error: Double, loss: Double) {
      self.format = format
      self.error = error
      self.loss = loss
    }
  }

  public struct Row: Sendable, Hashable {
    /// As GGUF files call the tensor.
    public var name: String
    public var numbers: Int
    /// From the smallest to the largest.
    public var choices: [Choice]
    public var effect: Effect

    public init(name: String, numbers: Int, choices: [Choice], effect: Effect) {
      self.name = name
      self.numbers = numbers
      self.choices = choices
      self.effect = effect
    }

    /// What a squared error of 1 counts.
    var lossOfError: Double { effect.error > 0 ? effect.loss / effect.error : 0 }
  }

  public var rows: [Row]
  /// Bytes of a file beside these tensors: header, vectors, what stays as it is.
  public var otherBytes: Int
  /// Numbers in tensors beside these.
  public var otherNumbers: Int
  /// What it was measured on.
  public var record: JSON
  public var signal: Signal

  public init(rows: [Row], otherBytes: Int, otherNumbers: Int, record: JSON, signal: Signal = .measured) {
    self.rows = rows
    self.otherBytes = otherBytes
    self.otherNumbers = otherNumbers
    self.record = record
    self.signal = signal
  }

  /// Beyond any model; sums of them fit `Int`.
  private static let mostNumbers = 1 << 48

  // MARK: - As JSON

  /// What a loss is called.
  private var lossKey: String { signal == .measured ? "kl" : "loss" }

  public var json: JSON {
    [
      "espalier_type_sensitivity": 1, "signal": .string(signal.rawValue), "record": record,
      "other_bytes": .number(otherBytes),
      "other_numbers": .number(otherNumbers),
      "tensors": .array(
        rows.map { row in
          [
            "name": .string(row.name), "numbers": .number(row.numbers),
            "probe": ["type": .string(row.effect.format.name), lossKey: .number(row.effect.loss)],
            "types": .array(
              row.choices.map {
                ["type": .string($0.format.name), "bytes": .number($0.bytes), "error": .number($0.error)]
              }),
          ]
        }),
    ]
  }

  /// What `--save-table` wrote.
  ///
  /// - Throws: `quantize.fit` for what is no such table.
  public init(at path: String) throws(Problem) {
    do throws(Problem) { try self.init(JSON(parsing: try FileSystem.read(path))) } catch { throw error.at(file: path) }
  }

  /// - Throws: `quantize.fit` for what is no such table.
  public init(_ json: JSON) throws(Problem) {
    func bad(_ what: String) -> Problem {
      Problem(
        .quantizationFit, "this is no table of types: \(what)", remedy: "`espalier quantize --save-table` writes one.")
    }
    guard json["espalier_type_sensitivity"]?.integer == 1, let tensors = json["tensors"]?.array, !tensors.isEmpty else {
      throw bad("it has no tensors")
    }
    let written = json["signal"]?.string
    guard let signal = written.map({ Signal(rawValue: $0) }) ?? .measured else {
      throw bad("it is by no signal that is known")
    }
    self.signal = signal
    rows = []
    var names: Set<ExactString> = []
    for tensor in tensors {
      guard let name = tensor["name"]?.string, let numbers = tensor["numbers"]?.integer,
        (1...Self.mostNumbers).contains(numbers),
        let types = tensor["types"]?.array, !types.isEmpty, names.insert(ExactString(name)).inserted
      else { throw bad("a tensor has no name, no numbers or no types, or is there twice") }
      guard let probed = tensor["probe"]?["type"]?.string.flatMap({ WeightFormat.gguf(named: $0) }),
        let loss = tensor["probe"]?[signal == .measured ? "kl" : "loss"]?.number, loss >= 0, loss.isFinite
      else { throw bad("the effect of \(name) is no \(signal == .measured ? "divergence" : "share")") }
      var choices: [Choice] = []
      for type in types {
        guard let format = type["type"]?.string.flatMap({ WeightFormat.gguf(named: $0) }),
          let bytes = type["bytes"]?.integer, (0...1 << 48).contains(bytes), let error = type["error"]?.number,
          error >= 0, error.isFinite
        else { throw bad("a type of \(name) is not known, or its bytes or error are no sizes") }
        choices.append(Choice(format: format, bytes: bytes, error: error))
      }
      guard let error = choices.first(where: { $0.format == probed })?.error else {
        throw bad("the type that \(name) was measured in is not among its types")
      }
      rows.append(
        Row(
          name: name, numbers: numbers, choices: choices,
          effect: .init(format: probed, error: error, loss: loss)))
    }
    guard let bytes = json["other_bytes"]?.integer, let numbers = json["other_numbers"]?.integer,
      (0...Self.mostNumbers).contains(bytes), (0...Self.mostNumbers).contains(numbers), rows.count <= 1 << 14
    else { throw bad("it does not say what else the file holds") }
    (otherBytes, otherNumbers, record) = (bytes, numbers, json["record"] ?? .null)
  }
}
