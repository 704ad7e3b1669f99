/// How many directions of a matrix matter, by its singular values.
extension LinearAlgebra {
  /// The number of singular values greater than `relativeTolerance` times the first.
  ///
  /// - Parameter singularValues: descending, not negative.
  /// - Parameter relativeTolerance: not negative; for "zero to working precision" max(m, n) 2^-52, or 2^-23 if the
  ///   elements were float32.
  public static func numericalRank(of singularValues: [Double], relativeTolerance: Double) -> Int {
    guard let largest = singularValues.first else { return 0 }
    return singularValues.prefix { $0 > relativeTolerance * largest }.count
  }

  /// The smallest r with `sum of the first r s_i² >= fraction * sum of all s_i²`: by Eckart and Young (1936) the rank
  /// at which the best approximation keeps this fraction of the squared Frobenius norm. Zero for a zero matrix.
  ///
  /// - Parameter singularValues: descending, not negative.
  /// - Parameter fraction: in 0 ... 1.
  public static func energyRank(_ singularValues: [Double], fraction: Double = 0.9) -> Int {
    let energies = cumulativeEnergies(singularValues)
    guard let total = energies.last, total > 0, fraction > 0 else { return 0 }
    return energies.prefix { $0 < fraction * total }.count + 1
  }

  /// The stable rank `‖A‖_F² / ‖A‖_2² = sum of (s_i / s_1)²`, between 1 and the rank; zero for a zero matrix.
  ///
  /// Source: Rudelson, Vershynin 2007, section 1.
  public static func stableRank(_ singularValues: [Double]) -> Double {
    cumulativeEnergies(singularValues).last ?? 0
  }

  /// Partial sums of `(s_i / s_1)²`; the division keeps squares from overflowing.
  private static func cumulativeEnergies(_ singularValues: [Double]) -> [Double] {
    guard let largest = singularValues.first, largest > 0 else { return [] }
    var sum = 0.0
    return singularValues.map { value in
      sum += (value / largest) * (value / largest)
      return sum
    }
  }
}
