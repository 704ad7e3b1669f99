/// What is known of a chunk whose numbers are integers times a step for each column, so that it is coded as those
/// integers (``LatticeCoding``).
public struct ChunkLattice: Sendable {
  /// The most different steps of a chunk.
  public static let mostSteps = 16

  /// By column, finite and above 0; not empty.
  public var steps: [Float]
  /// The column of the chunk's first element.
  public var firstColumn: Int

  public init(steps: [Float], firstColumn: Int) {
    (self.steps, self.firstColumn) = (steps, firstColumn)
  }
}
