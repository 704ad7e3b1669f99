public import EspalierBasics
public import EspalierNumerics

/// A merge as its author wrote it: mergekit's grammar, with the line of everything.
public struct Recipe: Sendable {
  /// The name by which other documents of the file refer to it.
  public var name: String?
  public var method: String
  public var methodLine: Int
  public var base: ModelReference?
  public var body: Body
  public var parameters: ParameterSettings
  /// The type that inputs are said to be cast to; the output's type unless `outputType` is given.
  public var computeType: ElementType?
  public var outputType: ElementType?
  public var tokenizer: TokenizerSetting?
  public var chatTemplate: String?
  public var line: Int

  public indirect enum Body: Sendable {
    case models([Source])
    case slices([Slice])
    case modules([(name: String, line: Int, module: Module)])
  }

  /// A model among the inputs, with its own parameters.
  public struct Source: Sendable {
    public var model: ModelReference
    public var parameters: ParameterSettings
    /// Layers taken, in slices; all in `models`.
    public var layers: Range<Int>?
    public var line: Int
  }

  /// Layers of the output made of as many layers of every source.
  public struct Slice: Sendable {
    public var sources: [Source]
    public var base: ModelReference?
    public var parameters: ParameterSettings
    public var line: Int
  }

  public struct Module: Sendable {
    public var body: Body
    public var parameters: ParameterSettings
  }

  public struct TokenizerSetting: Sendable {
    public enum Origin: Sendable, Hashable {
      case union
      case base
      case model(ModelReference)
    }

    public struct Token: Sendable {
      public enum Embedding: Sendable {
        case model(ModelReference)
        case zero
        case modelToken(ModelReference, id: Int?, token: String?)
      }

      public var token: String
      public var embedding: Embedding?
      public var force: Bool
      public var line: Int
    }

    public var origin: Origin
    public var tokens: [Token]
    public var padToMultipleOf: Int?
    public var line: Int
  }

  /// Every model the recipe names, each once, in the order of the text; the base last if it is named nowhere else.
  public var models: [ModelReference] {
    var seen: [ModelReference] = []
    func note(_ reference: ModelReference?) {
      if let reference, !seen.contains(where: { $0.key == reference.key }) { seen.append(reference) }
    }
    func walk(_ body: Body) {
      switch body {
      case .models(let sources): for source in sources { note(source.model) }
      case .slices(let slices):
        for slice in slices {
          for source in slice.sources { note(source.model) }
          note(slice.base)
        }
      case .modules(let modules): for module in modules { walk(module.module.body) }
      }
    }
    walk(body)
    note(base)
    if case .model(let reference)? = tokenizer?.origin { note(reference) }
    for token in tokenizer?.tokens ?? [] {
      switch token.embedding {
      case .model(let reference), .modelToken(let reference, _, _): note(reference)
      default: break
      }
    }
    return seen
  }
}

/// A model as a recipe names it: `path_or_hub_name[@revision][+adapter]`.
public struct ModelReference: Sendable, Hashable {
  public var path: String
  public var revision: String?
  public var adapter: String?
  public var adapterRevision: String?
  public var line: Int

  public init(
    path: String, revision: String? = nil, adapter: String? = nil, adapterRevision: String? = nil, line: Int = 0
  ) {
    self.path = path
    self.revision = revision
    self.adapter = adapter
    self.adapterRevision = adapterRevision
    self.line = line
  }

  /// What makes two references the same model.
  public var key: String {
    path + (revision.map { "@" + $0 } ?? "") + (adapter.map { "+" + $0 } ?? "")
      + (adapterRevision.map { "@" + $0 } ?? "")
  }

  /// Parses the text form.
  public init(parsing text: String, line: Int) {
    let parts = text.split(separator: "+", maxSplits: 1, omittingEmptySubsequences: false)
    let model = Self.splitRevision(parts[0])
    let adapter = parts.count > 1 ? Self.splitRevision(parts[1]) : nil
    self.init(
      path: model.path, revision: model.revision, adapter: adapter?.path, adapterRevision: adapter?.revision,
      line: line)
  }

  private static func splitRevision(_ text: Substring) -> (path: String, revision: String?) {
    // An "@" that is part of a folder's name belongs to the path.
    guard let at = text.lastIndex(of: "@"), !text[at...].contains("/") else { return (String(text), nil) }
    return (String(text[..<at]), String(text[text.index(after: at)...]))
  }
}

/// Parameters written at one level of a recipe, by name.
public struct ParameterSettings: Sendable {
  public struct Entry: Sendable {
    public var setting: ParameterSetting
    public var line: Int
  }

  public var entries: [String: Entry] = [:]
  public static let none = ParameterSettings()
}

/// A parameter's value before it is known for which tensor: mergekit's scalars, gradients and filters.
public struct ParameterSetting: Sendable, Hashable {
  public struct Case: Sendable, Hashable {
    /// A plain part of the tensor's name; nil fits all.
    public var filter: String?
    /// One value, or the points of a gradient over the layers.
    public var points: [ParameterValue]
  }

  public var cases: [Case]

  /// The value for a tensor, or nil if no filter fits.
  ///
  /// - Parameters:
  ///   - name: name of the tensor; a filter fits if it is part of it.
  ///   - position: where the tensor's layer stands in its slice, from 0 (first; also outside layers) to 1 (last).
  public func value(for name: String, position: Double) -> ParameterValue? {
    guard let points = cases.first(where: { $0.filter.map { name.contains($0) } ?? true })?.points else { return nil }
    return Self.interpolate(points, at: position)
  }

  static func interpolate(_ points: [ParameterValue], at position: Double) -> ParameterValue? {
    guard points.count > 1 else { return points.first }
    let scaled = position * Double(points.count - 1)
    let lower = min(points.count - 2, max(0, Int(scaled)))
    if case .number(let a) = points[lower], case .number(let b) = points[lower + 1] {
      let fraction = scaled - Double(lower)
      return .number(fraction == 1 ? b : a + (b - a) * fraction)
    }
    return points[min(points.count - 1, Int(scaled))]
  }

  /// Every value it can take.
  public var allValues: [ParameterValue] { cases.flatMap(\.points) }
}
