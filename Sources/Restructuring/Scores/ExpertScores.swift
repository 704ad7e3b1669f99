internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// Rows that the router sends to the expert.
public struct ExpertUseScore: UnitScore {
  public static let card = MethodCard(
    name: "expert-use", summary: "of experts: rows of the text that the router sends there", source: "li2024mcsmoe")
  public static let needs = StructuralNeed.statistics
  public static let isOfExperts = true

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    try ExpertLayer(group, in: subject).uses(in: subject)
  }
}

/// `√Σ w²` over the expert's own weights.
public struct ExpertNormScore: UnitScore {
  public static let card = MethodCard(
    name: "expert-norm", summary: "of experts: the norm of their weights", source: "chowdhury2024experts",
    notes: "A score that the source compares its own with. The router's row is not counted.")
  public static let needs = StructuralNeed.nothing
  public static let isOfExperts = true

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    let layer = try ExpertLayer(group, in: subject)
    let products = try layer.products(files: files)
    return products.indices.map { max(0, products[$0][$0]).squareRoot() }
  }
}

/// `‖r_e - r_e⁰‖`: how far tuning moved the router's row of the expert.
public struct RouterChangeScore: UnitScore {
  public static let card = MethodCard(
    name: "router-change", summary: "of experts: by how much tuning lengthened their rows of the router",
    source: "chowdhury2024experts",
    notes:
      "The Euclidean norm after tuning less that before, with its sign, as the authors' program has it. Needs the model "
      + "before tuning, `--base`.")
  public static let needs = StructuralNeed.nothing
  public static let isOfExperts = true

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    let layer = try ExpertLayer(group, in: subject)
    guard let base = subject.reference else {
      throw Problem(
        .restructuring, "what tuning changed can be told only beside the model before it", remedy: "Give --base.")
    }
    guard let router = layer.router else {
      throw Problem(.restructuring, "the router of `\(group.axis.instance)` is not stored")
    }
    guard let before = base.parametersByName()[ExactString(router.name)], before.shape == router.shape else {
      throw Problem(
        .restructuring, "the base has no router of the shape \(router.shape)", file: base.location, tensor: router.name)
    }
    let (a, b) = (try router.values(files: files), try before.values(files: files))
    let width = a.count / max(1, layer.count)
    func norm(_ values: [Float], _ expert: Int) -> Double {
      values[expert * width..<(expert + 1) * width].reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
    }
    return (0..<layer.count).map { norm(a, $0) - norm(b, $0) }
  }
}
