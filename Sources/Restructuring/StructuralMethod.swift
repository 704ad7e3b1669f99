public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNetworks

/// A way of choosing what of a model's structure stays, and of making the rest make up for what goes.
///
/// A method is a value: its parameters. What it asks of the model it asks a ``StructuralSubject``; it knows nothing of
/// files, outputs or recipes. Adding one takes a file, a line in ``StructuralMethods`` and a test.
public protocol StructuralMethod: Sendable {
  static var card: MethodCard { get }
  /// Whether it gives parameters new values itself, so that no repair may follow.
  static var repairs: Bool { get }
  /// Whether it compares what the model makes of paired prompts.
  static var needsPairs: Bool { get }
  init(_ parameters: StructuralParameters) throws(Problem)

  /// What it has to know of the model's inputs, with its parameters as they are.
  var needs: StructuralNeed { get }
  /// Whether it asks for statistics, which may have to be gathered from text.
  var gathersStatistics: Bool { get }
  /// Whether it looks at what tuning changed: ``StructuralSubject/reference``.
  var needsBase: Bool { get }

  /// Tells from headers alone what would be in its way: a model without what it takes out, a size that it cannot reach. A
  /// model that passes may still fail by what weights and text tell.
  ///
  /// - Throws: `restructuring`.
  func check(_ model: any StructuralModel, to parameters: Int) throws(Problem)

  /// Bytes that it holds at once beside the program and what its subject does for it.
  ///
  /// - Parameters:
  ///   - network: the model's, its weights not in memory.
  ///   - lengths: tokens of every window of the calibration text.
  func bytes(for model: any StructuralModel, _ network: Network, lengths: [Int]) throws(Problem) -> Int

  /// The model with at most `parameters` numbers (``ParameterCount``).
  ///
  /// - Throws: `restructuring` for a goal that the method cannot reach, naming the least that it can.
  func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured
}

extension StructuralMethod {
  public static var repairs: Bool { false }
  public static var needsPairs: Bool { false }
  public var gathersStatistics: Bool { needs == .statistics || Self.repairs }
  public var needsBase: Bool { false }

  public func bytes(for model: any StructuralModel, _ network: Network, lengths: [Int]) throws(Problem) -> Int { 0 }
}

/// What a method has to know beside the weights: each of them tells what those before it do.
public enum StructuralNeed: Int, Sendable, Comparable {
  case nothing
  /// Statistics of the inputs of matrices.
  case statistics
  /// Text, to run the model on.
  case text

  public static func < (first: StructuralNeed, second: StructuralNeed) -> Bool { first.rawValue < second.rawValue }
}

/// What came of a method.
public struct Restructured: Sendable {
  /// One decision, in the order they were taken.
  public struct Step: Sendable {
    /// What was done: `layer 7 leaves`, `mlp of layer 3: 512 of 768 channels stay`.
    public var text: String
    /// What it cost, as far as it was measured, with the name of the figure: nats, a relative error.
    public var figures: [(name: String, value: Double)]

    public init(_ text: String, figures: [(name: String, value: Double)] = []) {
      (self.text, self.figures) = (text, figures)
    }
  }

  /// The model as it is now; nothing of it is written, but for parameters that ``StructuralSubject/store(_:values:)`` took.
  public var checkpoint: any Checkpoint
  public var steps: [Step]

  public init(_ checkpoint: any Checkpoint, steps: [Step]) {
    (self.checkpoint, self.steps) = (checkpoint, steps)
  }
}

/// A model and what its parameters mean: what is known before a weight is read.
public protocol StructuralModel {
  var checkpoint: any Checkpoint { get }
  var family: Architecture { get }
  var description: ModelDescription { get }
}

/// The model that a method changes, and what it may ask of it.
public protocol StructuralSubject: AnyObject, StructuralModel {
  /// The model as it is, ready to run.
  var network: Network { get }
  var workers: WorkerPool { get }
  /// Windows of the calibration text; empty without one.
  var sequences: [[Int32]] { get }

  /// Statistics of what enters the maps of a site, by the name of ``ParameterDescription/inputSite``.
  ///
  /// - Throws: `restructuring` if there are none, with what the user can do.
  func statistics(ofSite site: String) throws(Problem) -> SiteStatistics

  /// How far a changed model's predictions on the calibration text are from the original's: the Kullback-Leibler
  /// divergence in nats a token.
  ///
  /// - Throws: `restructuring` without text.
  func divergence(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double

  /// The perplexity of a changed model on the calibration text, a token.
  ///
  /// - Throws: `restructuring` without text.
  func perplexity(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double

  /// How differently a changed model goes on from the paired prompts: ``PairBias``.
  ///
  /// - Throws: `restructuring` without pairs.
  func bias(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double

  /// The model that this one was tuned from, for methods that look at what tuning changed; nil if it was not given.
  var reference: (any Checkpoint)? { get }

  /// Keeps new values of a parameter until the model is written, rounded once to its type.
  ///
  /// - Parameters:
  ///   - parameter: its name, shape and type.
  ///   - values: row-major, as they are stored.
  /// - Returns: the parameter that reads them.
  func store(_ parameter: Parameter, values: [Float]) throws(Problem) -> Parameter

  /// Tells the user how far it is.
  func progress(_ text: String)
}

extension StructuralSubject {
  public func perplexity(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double {
    throw Problem(.restructuring, "perplexities are not measured here", tensor: name)
  }

  public func bias(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double {
    throw Problem(.restructuring, "there are no paired prompts to measure a bias on", tensor: name)
  }

  public var reference: (any Checkpoint)? { nil }
}

/// Values of a method's parameters, checked against its card.
public struct StructuralParameters: Sendable, Hashable {
  private let values: [String: ParameterValue]

  /// - Throws: `restructuring` for a name that the card does not have, a value that it does not allow, or a required one
  ///   that is missing.
  public init(_ given: [String: ParameterValue], for card: MethodCard) throws(Problem) {
    var values: [String: ParameterValue] = [:]
    for parameter in card.parameters { values[parameter.name] = parameter.standard }
    for (name, value) in given.sorted(by: { $0.key < $1.key }) {
      guard let parameter = card.parameter(name) else {
        let known = card.parameters.map(\.name)
        throw Problem(
          .restructuring, "\(card.name) has no parameter `\(name)`",
          remedy: known.isEmpty ? "It has none." : "It has: \(known.joined(separator: ", ")).")
      }
      if let complaint = parameter.complaint(about: value) {
        throw Problem(.restructuring, "\(card.name): \(complaint)")
      }
      values[name] = value
    }
    if let missing = card.parameters.first(where: { $0.isRequired && values[$0.name] == nil }) {
      throw Problem(.restructuring, "\(card.name) needs a value for `\(missing.name)`")
    }
    self.values = values
  }

  public func number(_ name: String) -> Double? { if case .number(let value)? = values[name] { value } else { nil } }
  public func integer(_ name: String) -> Int? { number(name).flatMap { Int(exactly: $0) } }
  public func flag(_ name: String) -> Bool? { if case .flag(let value)? = values[name] { value } else { nil } }
  public func word(_ name: String) -> String? { if case .word(let value)? = values[name] { value } else { nil } }
}
