internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierReduction

/// A stored parameter with the matrices in it that are reduced.
struct ReductionTarget: Sendable {
  let parameter: Parameter
  var matrices: [NetworkMatrix]
  /// How its codes are written; nil where it is stored otherwise.
  var packing: Packing?
  /// How it is kept as blocks; nil where it is stored otherwise.
  var blocks: Blocks?

  /// The matrix that is all of the parameter, if one is.
  var wholeMatrix: NetworkMatrix? { matrices.count == 1 && matrices[0].rows == nil ? matrices[0] : nil }
}

/// Which matrices of a network are reduced.
struct ReductionSelection {
  private let keep: [RegularExpression]
  private let only: [RegularExpression]
  private let takesHead: Bool

  /// - Throws: every pattern that is not understood.
  init(keep: [String], only: [String], takesHead: Bool = false) throws(Problems) {
    var problems = Problems()
    func compiled(_ patterns: [String]) -> [RegularExpression] {
      patterns.compactMap { pattern in
        problems.collect { () throws(Problem) in
          do throws(Problem) { return try RegularExpression.searching(pattern) } catch {
            throw Problem(.reduction, "--keep or --only: \(error.message)", remedy: error.remedy)
          }
        }
      }
    }
    (self.keep, self.only, self.takesHead) = (compiled(keep), compiled(only), takesHead)
    guard problems.all.isEmpty else { throw problems }
  }

  /// Unless something else is asked for, what maps rows inside layers; routers decide too much for their size.
  func contains(_ matrix: NetworkMatrix) -> Bool {
    let name = matrix.name
    if keep.contains(where: { $0.matches(name) }) { return false }
    guard only.isEmpty else { return only.contains { $0.matches(name) } }
    if takesHead, matrix.part == .headProjection { return true }
    return matrix.layer != nil && !Self.spared.contains(matrix.part)
  }

  private static let spared: Set<Role.Part> = [
    .embedding, .positionEmbedding, .typeEmbedding, .patchEmbedding, .headProjection, .headTransform, .pooler,
    .classifier, .router, .sharedExpertGate, .norm, .convolution,
  ]

  /// The targets of a block, a parameter each, in the order of its matrices.
  func targets(among matrices: [NetworkMatrix], taken: inout Set<ExactString>) -> [ReductionTarget] {
    var targets: [ReductionTarget] = []
    for matrix in matrices where contains(matrix) {
      let name = ExactString(matrix.parameter.name)
      if let place = targets.firstIndex(where: { ExactString($0.parameter.name) == name }) {
        targets[place].matrices.append(matrix)
      } else if taken.insert(name).inserted {
        // A parameter that several layers share is reduced by what its first layer sees.
        targets.append(ReductionTarget(parameter: matrix.parameter, matrices: [matrix]))
      }
    }
    return targets
  }
}
