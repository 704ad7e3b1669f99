public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics
internal import EspalierReduction

/// Lets what stays of a map make up for the inputs that left it, by least squares on calibration text.
///
/// Of a map W `[outputs, inputs]`, of whose inputs S stay and R leave, with the second moment H = E[x xᵀ] of the inputs:
///
///     W' = W_S + W_R H_RS (H_SS + λ I)⁻¹,   λ = damp mean(diag H_SS)
///
/// which minimizes E‖W x - W' x_S‖² + λ ‖W' - W_S‖²: the error on the text never grows (but by the rounding of what is
/// stored), and inputs that are linear combinations of those that stay are made up for wholly as damp goes to 0. H is
/// that of the original model: a map does not see what those before it have become. Behind a norm over inputs that left
/// H is not that of what stays, so such maps stay as they are.
///
/// Cost: |S|³ flops a map, and products of its size times |S|; memory of some |S|² float64.
public struct LeastSquaresRepair: Sendable {
  public static let standardDamp = 0.01

  /// A share of the mean square of the inputs that stay, added to each.
  public let damp: Double

  public init(damp: Double = LeastSquaresRepair.standardDamp) { self.damp = damp }

  /// The model with its maps repaired, and a step for each, with the root of the relative squared error of its outputs
  /// before and after.
  ///
  /// - Parameter result: of a method that took entries of axes out, and stored nothing new.
  /// - Throws: `restructuring` if the model is another's work by now, or of statistics that lack second moments.
  public func repaired(
    _ result: Restructured, of subject: any StructuralSubject
  ) throws(Problem) -> Restructured {
    guard let changed = result.checkpoint as? RestructuredCheckpoint else {
      throw Problem(
        .restructuring, "the method has given parameters new values already", remedy: "Leave the repair out.")
    }
    let (maps, stacked) = RepairableMap.all(of: changed)
    let files = FilePool()
    var replacements: [Parameter] = []
    var steps = result.steps
    for listing in maps {
      let name = listing.name
      guard !listing.isBehindNorm else {
        steps.append(.init("\(name) stays as it is: a norm over what left changes what enters it"))
        continue
      }
      do throws(Problem) {
        let map = try listing.read(files)
        guard !map.left.isEmpty else { continue }
        let moment = try subject.moment(ofSite: listing.site, width: map.whole.columns)
        guard let repaired = try solve(map.whole, moment, keeping: map.kept, parallel: subject.workers.forEach) else {
          steps.append(.init("\(name) stays as it is: nothing reaches it"))
          continue
        }
        replacements.append(try subject.store(map.parameter, values: map.stored(repaired.weight)))
        steps.append(
          .init(
            "\(name) makes up for \(map.left.count) of \(map.whole.columns) inputs",
            figures: [("error before", repaired.before), ("error after", repaired.after)]))
      } catch { throw error.at(tensor: name) }
      subject.progress(steps[steps.count - 1].text)
    }
    for name in stacked { steps.append(.init("\(name) stays as it is: only maps of two dimensions are repaired")) }
    if maps.isEmpty && stacked.isEmpty { steps.append(.init("nothing to repair: no map lost inputs within a layer")) }
    guard !replacements.isEmpty else { return Restructured(changed, steps: steps) }
    return Restructured(OverlaidCheckpoint(changed, replacing: replacements), steps: steps)
  }

  /// - Parameters:
  ///   - weight: W.
  ///   - moment: H times any number.
  /// - Returns: W' `[outputs, kept]`, and the roots of the relative squared errors of W_S and W'; nil where nothing of what
  ///   stays is ever but 0.
  func solve(
    _ weight: Matrix<Double>, _ moment: Matrix<Double>, keeping kept: [Int],
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> (weight: Matrix<Double>, before: Double, after: Double)? {
    let rows = moment.selecting(rows: kept)
    guard let inverse = try Self.dampedInverse(rows.selecting(columns: kept), damp, parallel) else { return nil }
    let staying = Set(kept)
    let left = (0..<weight.columns).filter { !staying.contains($0) }
    let (remaining, gone) = (weight.selecting(columns: kept), weight.selecting(columns: left))
    let shares = try MatrixProduct.product(
      moment.selecting(rows: left).selecting(columns: kept), inverse, parallel: parallel)
    var repaired = try MatrixProduct.product(gone, shares, parallel: parallel)
    for index in repaired.elements.indices { repaired.elements[index] += remaining.elements[index] }

    let all = try Self.energy(of: weight, moment, parallel)
    var error = weight
    for row in 0..<weight.rows { for place in kept { error[row, place] = 0 } }
    let before = try Self.energy(of: error, moment, parallel)
    for row in 0..<weight.rows {
      for (column, place) in kept.enumerated() { error[row, place] = remaining[row, column] - repaired[row, column] }
    }
    let after = try Self.energy(of: error, moment, parallel)
    func relative(_ part: Double) -> Double { all > 0 ? (max(0, part) / all).squareRoot() : 0 }
    return (repaired, relative(before), relative(after))
  }

  /// `(H + damp mean(diag H) I)⁻¹`; nil for zeros.
  static func dampedInverse(
    _ moment: Matrix<Double>, _ damp: Double, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Double>? {
    let mean = (0..<moment.rows).reduce(0) { $0 + moment[$1, $1] } / Double(max(1, moment.rows))
    guard mean > 0 else { return nil }
    var damped = moment
    for index in 0..<moment.rows { damped[index, index] += damp * mean }
    // The factor is of 2 / count times the moment.
    return try InverseFactor(moment: damped, count: 2, damp: 0, parallel: parallel).inverse(parallel: parallel)
  }

  /// `trace(W H Wᵀ)`.
  private static func energy(
    of weight: Matrix<Double>, _ moment: Matrix<Double>, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Double {
    let product = try MatrixProduct.product(weight, moment, parallel: parallel)
    return zip(product.elements, weight.elements).reduce(0) { $0 + $1.0 * $1.1 }
  }
}

extension StructuralSubject {
  /// The whole second moment of what enters a site, summed over rows.
  func moment(ofSite site: String, width: Int) throws(Problem) -> Matrix<Double> {
    let statistics = try statistics(ofSite: site)
    guard case .full(let moment)? = statistics.moment, moment.rows == width, moment.columns == width else {
      throw Problem(
        .restructuring, "least squares need the whole second moment of the \(width) inputs of `\(site)`",
        remedy: "Give --text, or calibrate with --moment-width \(width) or more.")
    }
    return moment
  }
}
