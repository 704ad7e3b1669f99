public import EspalierBasics
public import EspalierLinearMaps
public import EspalierNumerics

/// How a figure is printed.
public enum FigureStyle: Sendable, Hashable {
  /// Five significant digits.
  case number
  /// A whole number.
  case count
  /// A share of 0 ... 1 in percent.
  case share
  /// A difference of shares in percentage points, with its sign.
  case points
  /// A relative change in percent, with its sign.
  case change
}

/// One number of a result, with its interval.
public struct Figure: Sendable, Hashable {
  /// Its name in JSON and for gates.
  public var key: String
  public var label: String
  public var estimate: Estimate
  public var style: FigureStyle

  public init(_ key: String, _ label: String, _ estimate: Estimate, _ style: FigureStyle = .number) {
    self.key = key
    self.label = label
    self.estimate = estimate
    self.style = style
  }

  /// A figure without an interval: a maximum, a percentile, a count.
  public init(_ key: String, _ label: String, _ value: Double, _ style: FigureStyle = .number) {
    self.init(key, label, Estimate(value), style)
  }
}

/// How many of something a result is taken over.
public struct Count: Sendable, Hashable {
  public var noun: String
  public var value: Int

  public init(_ noun: String, _ value: Int) {
    self.noun = noun
    self.value = value
  }
}

/// How intervals were made.
public struct Sampling: Sendable, Hashable {
  public enum Units: String, Sendable, Hashable { case documents, windows, items, texts }

  public var units: Units
  public var bootstrap: Bootstrap

  public init(units: Units, bootstrap: Bootstrap) {
    self.units = units
    self.bootstrap = bootstrap
  }
}

/// What every result says besides its figures.
public struct MetricHeader: Sendable, Hashable {
  /// Whose figures these are: a result of the reference alone passes no gate.
  public enum Subject: String, Sendable, Hashable { case model, reference, pair }

  public var subject: Subject
  /// One name, or the candidate's and the reference's.
  public var models: [String]
  /// The numerical mode of each.
  public var modes: [NumericMode]
  /// What it was measured on.
  public var data: String
  /// How, in words.
  public var protocolText: String
  public var counts: [Count]
  public var sampling: Sampling

  public init(
    subject: Subject, models: [String], modes: [NumericMode], data: String, protocolText: String, counts: [Count],
    sampling: Sampling
  ) {
    self.subject = subject
    self.models = models
    self.modes = modes
    self.data = data
    self.protocolText = protocolText
    self.counts = counts
    self.sampling = sampling
  }
}

/// A result: a value that prints its figures with all that is needed to read them.
public protocol Metric: Sendable {
  /// `perplexity`, `divergence`: for JSON and gates.
  static var name: String { get }
  /// The same for people.
  static var title: String { get }
  var header: MetricHeader { get }
  var figures: [Figure] { get }
  /// What a person wants to read first; may be empty.
  var sentences: [String] { get }
  /// What JSON has besides the figures, and text leaves out.
  var details: [(String, JSON)] { get }
}

extension Metric {
  public var sentences: [String] { [] }
  public var details: [(String, JSON)] { [] }

  /// The figure named `key`.
  public func figure(_ key: String) -> Figure? { figures.first { $0.key == key } }
}
