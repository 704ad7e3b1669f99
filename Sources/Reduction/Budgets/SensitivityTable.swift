public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

extension Problem.Code {
  /// A file that is no table of sensitivities, or a damaged one.
  public static let sensitivityFormat = Problem.Code("sensitivity.format")
  /// A table of another model, method or calibration.
  public static let sensitivityMismatch = Problem.Code("sensitivity.mismatch")
}

/// What every matrix of a model loses at every level of a method, measured once: from it budgets are allocated.
///
/// Each level of a matrix W `[outputs, inputs]` was made by the method from the statistics of its inputs X alone, all other
/// matrices being as they were; its error is
///
///     e = ‖(W - W') X‖_F / ‖W X‖_F
///
/// ## What is added up
///
/// Errors of different matrices are added as squares. Where errors are small and their effects on what comes out of the
/// model uncorrelated, the square of the whole effect is the sum over matrices of a sensitivity times the squared output
/// error of each. The first two objectives assume what that sensitivity is, the third one has it measured.
///
/// * ``Objective/relative``: the sum of e². A matrix's outputs count by their own size. It does not change
///   when a matrix is scaled and what follows scaled back, as norms between layers do, and no layer dominates because
///   its activations are large, as those of late layers and of a few channels are.
/// * ``Objective/absolute``: the sum of ‖(W - W') X‖²_F. It is right for matrices whose outputs are added to one residual
///   stream and not normalized after, and there it gives what changes the stream least.
///
/// * ``Objective/effect``: the sum of ``Row/effect`` e², where each matrix was reduced alone, at one level, and the
///   divergence of the model's predictions measured. The divergence of two near distributions grows with the square of
///   what moves them, so one level gives the factor for all.
///
/// None is the error of the model: that is measured, on the model that comes out.
public struct SensitivityTable: Sendable, Hashable {
  /// A size that a matrix was brought to.
  public struct Level: Sendable, Hashable {
    public var budget: MatrixBudget
    /// Numbers that are stored, zeros not counted.
    public var numbers: Int
    /// Bytes that they take in the form that the run writes.
    public var bytes: Int
    /// e above.
    public var relativeError: Double
    public var kind: Certificate.Kind

    public init(budget: MatrixBudget, numbers: Int, bytes: Int, relativeError: Double, kind: Certificate.Kind) {
      self.budget = budget
      self.numbers = numbers
      self.bytes = bytes
      self.relativeError = relativeError
      self.kind = kind
    }

    /// - Parameter bytes: of the result as it is stored (``StoredForm``).
    public init(_ budget: MatrixBudget, _ reduced: ReducedMatrix, bytes: Int) {
      self.init(
        budget: budget, numbers: reduced.storedNumbers, bytes: bytes, relativeError: reduced.certificate.error,
        kind: reduced.certificate.kind)
    }
  }

  /// One matrix.
  public struct Row: Sendable, Hashable {
    public var name: String
    /// Of the parameter; the last dimension is the inputs.
    public var shape: [Int]
    /// Where its inputs come from.
    public var site: String?
    /// Bytes as it is.
    public var denseBytes: Int
    /// ‖W X‖²_F over all rows that the statistics saw, or ‖W‖²_F without statistics (``OutputError/energy``).
    public var outputEnergy: Double
    /// The Kullback-Leibler divergence of the model's predictions, in nats a token, by which it moves when this matrix
    /// alone has an error, divided by that error's e²; nil where it was not measured.
    public var effect: Double?
    /// In the order of measuring; no two with one budget.
    public var levels: [Level]

    public init(
      name: String, shape: [Int], site: String?, denseBytes: Int, outputEnergy: Double, effect: Double? = nil,
      levels: [Level]
    ) {
      self.name = name
      self.shape = shape
      self.site = site
      self.denseBytes = denseBytes
      self.outputEnergy = outputEnergy
      self.effect = effect
      self.levels = levels
    }

    /// Numbers as it is.
    public var numbers: Int { shape.checkedProduct ?? 0 }

    /// ‖(W - W') X‖²_F.
    public func squaredError(_ level: Level) -> Double { level.relativeError * level.relativeError * outputEnergy }
  }

  /// What was measured.
  public struct Record: Sendable, Hashable {
    /// As in ``ReductionMethods``.
    public var method: String
    /// All that were set; others have their defaults.
    public var parameters: [String: ParameterValue]
    /// What errors are relative to, in words: that of the certificates.
    public var norm: String
    /// Nil where it is not known.
    public var model: ModelIdentity?
    /// Of the file of statistics; nil if the method took none.
    public var statistics: Digest?
    /// On what effects were measured, in words; nil where they were not.
    public var effects: String?

    public init(
      method: String, parameters: [String: ParameterValue] = [:], norm: String, model: ModelIdentity? = nil,
      statistics: Digest? = nil, effects: String? = nil
    ) {
      self.method = method
      self.parameters = parameters
      self.norm = norm
      self.model = model
      self.statistics = statistics
      self.effects = effects
    }
  }

  public enum Objective: String, Sendable, Hashable, CaseIterable { case relative, absolute, effect }

  /// What is added up unless something else is asked for: measured effects, where every matrix has one.
  public var standardObjective: Objective { rows.allSatisfy { $0.effect != nil } ? .effect : .relative }

  public let record: Record
  /// In the order of the model.
  public let rows: [Row]

  /// - Throws: `sensitivity.format` naming the matrix for a name twice, a shape that is no matrix's, no levels, a budget
  ///   twice or out of its range, sizes that are negative, and errors that are negative or not finite.
  public init(_ record: Record, rows: [Row]) throws(Problem) {
    guard record.parameters.values.allSatisfy(\.isFinite) else {
      throw Problem(.sensitivityFormat, "a parameter of \(record.method) is not finite")
    }
    var names: Set<ExactString> = []
    for row in rows {
      guard names.insert(ExactString(row.name)).inserted else {
        throw Problem(.sensitivityFormat, "the matrix is there twice", tensor: row.name)
      }
      do throws(Problem) { try row.check() } catch { throw error.at(tensor: row.name) }
    }
    self.record = record
    self.rows = rows
  }

  /// Refuses a table that was measured on something else.
  ///
  /// - Throws: `sensitivity.mismatch` saying what differs. What one of both does not know is not compared.
  public func require(
    method: String, parameters: [String: ParameterValue], model: ModelIdentity?, statistics: Digest?
  ) throws(Problem) {
    var differences: [String] = []
    if record.method != method { differences.append("method (\(record.method) against \(method))") }
    if record.method == method, record.parameters != parameters { differences.append("parameters of the method") }
    if let own = record.model, let model, let text = own.difference(from: model) { differences.append(text) }
    if let own = record.statistics, let statistics, own != statistics {
      differences.append("statistics (\(own) against \(statistics))")
    }
    guard differences.isEmpty else {
      throw Problem(
        .sensitivityMismatch, "the table is of other \(differences.joined(separator: " and "))",
        remedy: "Measure one with `espalier sensitivity`.")
    }
  }
}

extension SensitivityTable.Row {
  fileprivate func check() throws(Problem) {
    guard shape.count >= 2, shape.allSatisfy({ $0 > 0 }), shape.checkedProduct != nil else {
      throw Problem(.sensitivityFormat, "\(shape) is not the shape of a matrix")
    }
    // No model is larger, and sums over matrices do not overflow.
    guard (0...1 << 52).contains(denseBytes), outputEnergy >= 0, outputEnergy.isFinite else {
      throw Problem(.sensitivityFormat, "\(denseBytes) bytes and an energy of \(outputEnergy)")
    }
    if let effect, !(effect >= 0 && effect.isFinite) {
      throw Problem(.sensitivityFormat, "an effect of \(effect)")
    }
    guard !levels.isEmpty else { throw Problem(.sensitivityFormat, "the matrix has no levels") }
    var seen: Set<MatrixBudget> = []
    for level in levels {
      guard level.budget.isInRange else { throw Problem(.sensitivityFormat, "\(level.budget) is no budget") }
      guard seen.insert(level.budget).inserted else {
        throw Problem(.sensitivityFormat, "the level \(level.budget) is there twice")
      }
      guard level.numbers >= 0, level.bytes >= 0 else {
        throw Problem(
          .sensitivityFormat, "the level \(level.budget) takes \(level.numbers) numbers in \(level.bytes) bytes")
      }
      guard level.relativeError >= 0, level.relativeError.isFinite, squaredError(level).isFinite,
        (effect ?? 0) * level.relativeError * level.relativeError < .infinity
      else {
        throw Problem(.sensitivityFormat, "the level \(level.budget) has an error of \(level.relativeError)")
      }
    }
  }
}

extension MatrixBudget {
  fileprivate var isInRange: Bool {
    switch self {
    case .sparsity(let share), .parameters(let share): (0...1).contains(share)
    case .pattern(let keep, let of): of > 0 && (0...of).contains(keep)
    case .rank(let rank): rank > 0
    }
  }
}

extension ParameterValue {
  fileprivate var isFinite: Bool { if case .number(let value) = self { value.isFinite } else { true } }
}
