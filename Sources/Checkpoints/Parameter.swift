internal import EspalierBasics
internal import EspalierLinearMaps
public import EspalierNumerics

/// What the network means: one named array in canonical layout and value, and how to get it from what is stored.
public struct Parameter: Sendable, Hashable, Codable {
  public var name: String
  /// Sizes of the dimensions, slowest first; empty for a scalar.
  public var shape: [Int]
  /// The type the model stores the parameter in, and outputs default to. A value changed by an adapter is read as
  /// float32 and rounded to it when it is written. Of quantized blocks it is what they are written as:
  /// ``BlockType/unquantizedType``.
  public var elementType: ElementType
  public var recipe: StorageRecipe

  public init(name: String, shape: [Int], elementType: ElementType, recipe: StorageRecipe) {
    self.name = name
    self.shape = shape
    self.elementType = elementType
    self.recipe = recipe
  }

  public init(_ stored: StoredTensor) {
    switch stored.format {
    case .elements(let type):
      self.init(name: stored.name, shape: stored.shape, elementType: type, recipe: .stored(stored))
    case .blocks(let type):
      self.init(name: stored.name, shape: stored.shape, elementType: type.unquantizedType, recipe: .coded(stored))
    }
  }

  public var elementCount: Int { shape.reduce(1, *) }
  /// Length of a row: the last dimension, or all of a vector; 1 for a scalar.
  public var rowLength: Int { shape.last ?? 1 }
}

/// How a parameter comes from stored tensors. A value, so that a plan can be saved, compared and sent elsewhere.
public indirect enum StorageRecipe: Sendable, Hashable, Codable {
  /// The tensor as it is stored, element by element.
  case stored(StoredTensor)
  /// A tensor stored in quantized blocks.
  case coded(StoredTensor)
  /// The rows of a parameter in another order.
  case reordered(StorageRecipe, RowOrder)
  /// A matrix stored as its transpose; `shape` is that of the parameter.
  case transposed(StorageRecipe, shape: [Int])
  /// A function of what is stored, element by element.
  case mapped(StorageRecipe, ElementMap)
  /// A parameter changed by what an adapter learned.
  case updated(StorageRecipe, shape: [Int], by: Update)
  /// Rows taken from parameters along the first dimension, e.g. an embedding in another vocabulary's order.
  case gathered([RowRun], sources: [StorageRecipe], shape: [Int])
  /// Entries taken along each dimension, such as the channels that a pruned model keeps.
  case selected(StorageRecipe, EntrySelection)
  /// `constant + Σ weight · parameter` of parameters of one shape, such as layers folded into one.
  case combined([WeightedRecipe], constant: Double, shape: [Int])
  /// A matrix stored in a reduced form: sparse, or as factors.
  case reduced(ReducedStorage)
  /// A matrix stored as codes with scales: GPTQ, AWQ, compressed-tensors.
  case packed(PackedStorage)

  /// Every stored tensor the parameter depends on, each once, in a fixed order.
  public var storedTensors: [StoredTensor] {
    var seen = Set<StoredTensor>()
    return allStored.filter { seen.insert($0).inserted }
  }

  private var allStored: [StoredTensor] {
    switch self {
    case .stored(let tensor), .coded(let tensor): [tensor]
    case .updated(let base, _, let update): base.allStored + update.storedTensors
    case .reordered, .transposed, .mapped, .gathered, .selected, .combined: sources.flatMap(\.allStored)
    case .reduced(let storage): storage.parts
    case .packed(let storage): storage.parts
    }
  }

  /// The recipes it is made of; none where it reads tensors.
  public var sources: [StorageRecipe] {
    switch self {
    case .stored, .coded, .reduced, .packed: []
    case .reordered(let base, _), .transposed(let base, _), .mapped(let base, _), .updated(let base, _, _),
      .selected(let base, _):
      [base]
    case .gathered(_, let sources, _): sources
    case .combined(let terms, _, _): terms.map(\.recipe)
    }
  }
}

/// A run of rows of a gathered parameter.
public enum RowRun: Sendable, Hashable, Codable {
  /// `count` consecutive rows of source `source`, beginning with row `first`.
  case rows(source: Int, first: Int, count: Int)
  /// One row: the mean of rows of sources, accumulated in float64.
  case mean([RowReference])
  /// `count` rows of zeros.
  case zeros(count: Int)
  /// `count` rows, each the mean of all rows of the gathered parameter that are not such averages themselves.
  case averages(count: Int)

  public var count: Int {
    switch self {
    case .rows(_, _, let count), .zeros(let count), .averages(let count): count
    case .mean: 1
    }
  }
}

public struct RowReference: Sendable, Hashable, Codable {
  public var source: Int
  public var row: Int

  public init(source: Int, row: Int) {
    self.source = source
    self.row = row
  }
}
