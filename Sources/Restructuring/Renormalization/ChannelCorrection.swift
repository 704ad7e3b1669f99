/// What brings the channels of a site to other means and deviations: `x' = s x + t`, channel by channel.
struct ChannelCorrection: Sendable {
  var scales: [Double]
  var shifts: [Double]
  /// Channels whose scale would be beyond the limit, or which never change and cannot be scaled.
  var limited = 0

  /// Scales are at most this, and at least its inverse: a channel that hardly changes any more is not blown up.
  static let limit = 10.0

  ///     rescale   s = σ'/σ   t = μ - s μ     deviations as wanted, means as they are
  ///     reshift   s = 1      t = μ' - μ      means as wanted
  ///     both      s = σ'/σ   t = μ' - s μ
  ///
  /// Without a shift a scale takes the mean along. Then `both` takes the one that brings (μ, σ) nearest to (μ', σ'),
  /// `s = (μ μ' + σ σ') / (μ² + σ²)`.
  ///
  /// - Parameter canShift: whether t has a place; else it is 0.
  init(
    from current: ChannelMoments, to target: ChannelMoments, mode: Renormalization.Mode, canShift: Bool
  ) {
    let width = current.width
    (scales, shifts) = ([Double](repeating: 1, count: width), [Double](repeating: 0, count: width))
    for channel in 0..<width {
      let (mean, wanted) = (current.means[channel], target.means[channel])
      if mode != .reshift {
        let (deviation, wantedDeviation) = (current.deviations[channel], target.deviations[channel])
        let scale =
          canShift || mode == .rescale
          ? wantedDeviation / deviation
          : (mean * wanted + deviation * wantedDeviation) / (mean * mean + deviation * deviation)
        let possible = scale.isFinite ? min(Self.limit, max(1 / Self.limit, scale)) : 1
        if possible != scale { limited += 1 }
        scales[channel] = possible
      }
      guard canShift else { continue }
      shifts[channel] = (mode == .rescale ? mean : wanted) - scales[channel] * mean
    }
  }

  /// Means and deviations of `s x + t`, of those of x.
  func applied(to moments: ChannelMoments) -> ChannelMoments {
    var result = moments
    for channel in scales.indices {
      result.means[channel] = scales[channel] * moments.means[channel] + shifts[channel]
      result.deviations[channel] = scales[channel] * moments.deviations[channel]
    }
    return result
  }

  var shiftsAnything: Bool { shifts.contains { $0 != 0 } }
}
