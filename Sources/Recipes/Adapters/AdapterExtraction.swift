public import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
public import EspalierNumerics

extension Problem.Code {
  /// Two models between which there is nothing to extract.
  public static let adapterNothing = Problem.Code("adapter.nothing")
  /// A pattern of modules that names none.
  public static let usageTarget = Problem.Code("usage.target")
}

/// What an extraction is asked for.
public struct AdapterExtractionOptions: Sendable {
  /// The folder to write.
  public var output: String
  /// The largest rank of a matrix; nil for no limit.
  public var rank: Int?
  /// The share of a matrix's squared change that its rank has to hold, above 0 and at most 1; nil for as much as
  /// ``rank`` gives. With both, the smaller of the two ranks is taken. One must be given.
  public var energy: Double?
  /// Regular expressions for modules, for the whole path or from a dot on; empty for every linear map but the head.
  public var targets: [String] = []
  /// What the factors are stored in.
  public var elementType = ElementType.f32
  public var force = false
  public var threads = Machine.processorCount
  /// Ceiling on resident memory, in bytes.
  public var memory = Machine.memoryBytes / 2
  /// A folder in which names of models are looked up.
  public var models: String?

  public init(output: String) { self.output = output }

  var policy: OutputFolder.Policy {
    var policy = OutputFolder.Policy(force: force)
    policy.canResume = false
    return policy
  }
}

/// A fine-tune as a LoRA adapter on its base, in PEFT's layout: the verb `extract-lora`.
///
/// For every linear map the change W' - W is replaced by the nearest of some rank (``ExtractedAdapter``); the scale is 1,
/// lora_alpha being the rank. What an adapter of this kind cannot hold (embeddings, norms, biases, convolutions) is told.
public struct AdapterExtraction: Sendable {
  /// A matrix that is looked at.
  struct Target: Sendable {
    /// Name of the parameter in the base.
    var name: String
    /// Path of its module, as the family's own class has it.
    var module: String
    var base: Parameter
    var fineTuned: Parameter
    /// Whether the parameter is stored `[inputs, outputs]`.
    var isTransposed: Bool

    var outputs: Int { base.shape[isTransposed ? 1 : 0] }
    var inputs: Int { base.shape[isTransposed ? 0 : 1] }

    /// What its extraction takes at most: the change, its decomposition in float64, and the measurement of the error.
    var workingBytes: Int {
      let (m, n) = (Double(outputs), Double(inputs))
      let r = min(m, n)
      return Int(min(1e18, 48 * m * n + 16 * (m + n) * r + 40 * r * r))
    }
  }

  let options: AdapterExtractionOptions
  let base: any Checkpoint
  let fineTuned: any Checkpoint
  /// As they were named.
  let baseName: String
  let fineTunedName: String
  let families: [Architecture]
  /// In the order of names.
  let targets: [Target]
  /// Why parameters are not looked at, by their name in the base.
  let reasons: [ExactString: String]
  /// Paths of all modules of the base that have a weight.
  let modules: [String]
  public let warnings: [Problem]
  /// What the program takes beside matrices, and what reading packed models takes.
  private(set) var fixedBytes = AdapterExtraction.baseBytes

  /// Opens both models, headers only, and chooses the matrices.
  ///
  /// - Parameters:
  ///   - fineTuned: a path or hub name, perhaps with an adapter.
  ///   - base: the model that it was made from.
  /// - Throws: everything that can be known now.
  public init(
    of fineTuned: String, from base: String, options: AdapterExtractionOptions, families: [Architecture]
  ) throws(Problems) {
    let locator = ModelLocator(recipeFolder: ".", models: options.models)
    let references = [base, fineTuned].map { ModelReference(parsing: $0, line: 0) }
    var problems = Problems()
    var opened: [any Checkpoint] = []
    for reference in references {
      do throws(Problems) {
        problems.all += try OutputOverlap.problems(writing: options.output, reading: reference, locator: locator)
        opened.append(try locator.open(reference, families: families))
      } catch { problems.all += error.all }
    }
    let patterns = options.targets.compactMap { pattern in
      problems.collect { () throws(Problem) in
        do throws(Problem) { return try RegularExpression("(.*\\.)?(\(pattern))") } catch {
          throw Problem(.usageTarget, "--target \(pattern): \(error.message)", remedy: error.remedy)
        }
      }
    }
    guard opened.count == 2, problems.all.isEmpty else { throw Problems(problems.all.map(Self.withoutLine)) }
    let found = Self.matrices(opened[0], opened[1], families: families, patterns: patterns)
    self.options = options
    (self.base, self.fineTuned) = (opened[0], opened[1])
    (baseName, fineTunedName) = (references[0].key, references[1].key)
    self.families = families
    (targets, reasons, modules) = (found.targets, found.reasons, found.modules)
    warnings = opened.flatMap(\.warnings)
    guard !targets.isEmpty else {
      throw Problems([
        Problem(
          options.targets.isEmpty ? .adapterNothing : .usageTarget,
          options.targets.isEmpty
            ? "the models have no linear maps of one name and shape"
            : "--target \(options.targets.joined(separator: ", ")) names no linear map that both models have",
          remedy: "Modules: \(modules.prefix(6).joined(separator: ", "))\(modules.count > 6 ? " ..." : ".")")
      ])
    }
    problems.all += OutputFolder.obstacles(at: options.output, policy: options.policy, bytes: largestOutput)
    problems.collect { () throws(Problem) in
      fixedBytes += try WeightFile.readingBytes(of: opened.flatMap(\.weightFiles), threads: options.threads)
    }
    if let problem = Problem.memoryCeiling(
      targets.map { ($0.name, $0.workingBytes) }, beside: fixedBytes, allowed: options.memory)
    {
      problems.add(problem)
    }
    guard problems.all.isEmpty else { throw problems }
  }

  /// What the program takes beside matrices: code, libraries, headers, buffers.
  private static let baseBytes = 96 << 20

  /// Bytes of factors of the largest rank that may come out.
  private var largestOutput: Int {
    targets.reduce(0) { bytes, target in
      let rank = min(options.rank ?? .max, target.outputs, target.inputs)
      return bytes + rank * (target.outputs + target.inputs) * options.elementType.byteWidth
    }
  }

  private static func withoutLine(_ problem: Problem) -> Problem {
    var problem = problem
    problem.context.recipeLine = nil
    return problem
  }

  // MARK: - Which matrices

  private static func matrices(
    _ base: any Checkpoint, _ fineTuned: any Checkpoint, families: [Architecture], patterns: [RegularExpression]
  ) -> (targets: [Target], reasons: [ExactString: String], modules: [String]) {
    let description = base.config.flatMap { config in
      Architecture.recognise(config: config, among: families).flatMap { try? $0.describe(config: config) }
    }
    let places = ModelOutline(of: base, families: families).places
    let others = Dictionary(
      zip(ModelOutline(of: fineTuned, families: families).places, fineTuned.parameters).map {
        (ExactString($0.canonicalName), $1)
      }, uniquingKeysWith: { first, _ in first })
    var targets: [Target] = []
    var reasons: [ExactString: String] = [:]
    var modules: [String] = []
    for (place, parameter) in zip(places, base.parameters) {
      let name = place.canonicalName
      guard name.hasSuffix(".weight") else {
        reasons[ExactString(parameter.name)] = name.hasSuffix(".bias") ? "a bias" : "no weight of a module"
        continue
      }
      let module = String(name.dropLast(".weight".count))
      modules.append(module)
      let kind = Kind(of: parameter, description?.parameter(named: parameter.name), isKnown: description != nil)
      let isNamed = patterns.contains { $0.matches(module) }
      switch kind {
      case .other(let reason): reasons[ExactString(parameter.name)] = reason
      case .head where !isNamed:
        reasons[ExactString(parameter.name)] = patterns.isEmpty ? "the output head (--target names it)" : notTargeted
      case .matrix where !patterns.isEmpty && !isNamed: reasons[ExactString(parameter.name)] = notTargeted
      case .head, .matrix:
        guard let other = others[ExactString(name)], other.shape == parameter.shape, other.elementType.isFloat else {
          reasons[ExactString(parameter.name)] = "not there, or of another shape"
          continue
        }
        let isTransposed = if case .matrix(let transposed) = kind { transposed } else { false }
        targets.append(
          Target(
            name: parameter.name, module: module, base: parameter, fineTuned: other, isTransposed: isTransposed))
      }
    }
    return (targets, reasons, modules)
  }

  private static let notTargeted = "not named by --target"

  /// What an adapter makes of a parameter.
  private enum Kind {
    case matrix(transposed: Bool)
    case head
    case other(String)

    /// - Parameter isKnown: whether the family is known, so that what it does not describe is no linear map.
    init(of parameter: Parameter, _ meaning: ParameterDescription?, isKnown: Bool) {
      guard parameter.elementType.isFloat else {
        self = .other("no floats")
        return
      }
      guard parameter.shape.count == 2, parameter.elementCount > 0 else {
        self = .other(parameter.shape.count < 2 ? "a vector" : "no matrix")
        return
      }
      if let meaning {
        switch meaning.role.part {
        case .embedding, .positionEmbedding, .typeEmbedding, .relativePosition: self = .other("an embedding")
        case .headProjection: self = .head
        default:
          self = meaning.inputSite == nil ? .other("no linear map") : .matrix(transposed: meaning.recipe.isTransposed)
        }
        return
      }
      guard !isKnown else {
        self = .other("unknown to the family")
        return
      }
      let words = parameter.name.lowercased().split(separator: ".").map(String.init)
      if words.contains("lm_head") {
        self = .head
      } else if words.contains(where: { $0.contains("embed") || ["wte", "wpe", "shared"].contains($0) }) {
        self = .other("an embedding")
      } else {
        self = .matrix(transposed: false)
      }
    }
  }
}
